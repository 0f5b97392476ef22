#!/usr/bin/env python3
"""Exit codes, messages, log and files of the real program. usage: cli_test.py PATH_OF_FAULTLINE"""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.request

FAULTLINE = os.path.abspath(sys.argv[1])

CRIU_FEATURES = """
mnt_id mem_dirty_track aio_remap timerfd tun tun_ns userns fdinfo_lock seccomp_suspend seccomp_filters loginuid cgroupns autofs
tcp_half_closed compat_cr uffd uffd-noncoop can_map_vdso sk_ns sk_unix_file net_diag_raw nsid link_nsid kcmp_epoll timens
external_net_ns clone3_set_tid newifindex nftables has_ipt_legacy pidfd_store ns_pid apparmor_stacking network_lock_nftables
sockopt_buf_lock memfd_hugetlb move_mount_set_group openat2 get_rseq_conf ipv6_freebind pagemap_scan timer_cr_ids overlayfs_maps
breakpoints pagemap_scan_guard_pages""".split()


class CommandLine(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def run_it(self, *args, name=None, **more):
        env = {"PATH": os.environ["PATH"], "HOME": self.dir.name, **more.pop("env", {})}
        command = [name or FAULTLINE, *args]
        return subprocess.run(command, cwd=self.dir.name, env=env, text=True, capture_output=True, timeout=60, **more)

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def test_help_and_version_succeed(self):
        for args in (["--help"], ["-h"], ["check", "--help"], ["--help", "check"]):
            done = self.run_it(*args)
            self.assertEqual((done.returncode, done.stderr), (0, ""), args)
            self.assertIn("check", done.stdout)
        done = self.run_it("--version")
        self.assertEqual(done.returncode, 0)
        self.assertTrue(done.stdout.startswith("Version: 4.2\n"), done.stdout)

    def test_the_manual_page_of_mount_knows_its_options(self):
        page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "browse", "faultline-mount.1")
        with open(page, encoding="utf-8") as f:
            text = f.read().replace("\\-", "-")
        offered = set(re.findall(r"^ +(?:-\w, )?--(?:\[no-\])?([a-z-]+)", self.run_it("mount", "--help").stdout, re.MULTILINE))
        everywhere = {"help", "version", "verbosity", "close", "unprivileged", "deprecated", "config", "no-default-config"}
        self.assertLessEqual({"allow-other", "against", "foreground"}, offered)
        self.assertEqual([], sorted(name for name in offered - everywhere if f"--{name}" not in text))

    def test_help_works_although_a_configuration_file_is_broken(self):
        with open(self.path("bad.conf"), "w") as f:
            f.write("nonsense here\n")
        self.assertEqual(self.run_it("--help", "--config", "bad.conf").returncode, 0)
        done = self.run_it("check", "--config", "bad.conf")
        self.assertEqual(done.returncode, 1)
        self.assertIn("bad.conf:1:", done.stderr)

    def test_usage_errors_are_1_and_named(self):
        for args, said in (
            ([], "usage:"),
            (["frobnicate"], "frobnicate"),
            (["check", "--nonsense"], "--nonsense"),
            (["check", "word"], "word"),
            (["check", "--feature"], "--feature"),
            (["pre-dump", "-t", "1"], "not implemented"),
        ):
            done = self.run_it(*args)
            self.assertEqual(done.returncode, 1, args)
            self.assertIn(said, done.stderr)
            self.assertEqual(done.stdout, "")

    def test_gone_commands_are_255(self):
        os.symlink(FAULTLINE, self.path("criu"))
        for verb, name in (("exec", None), ("exec", self.path("criu")), ("show", self.path("criu"))):
            done = self.run_it(verb, name=name)
            self.assertEqual(done.returncode, 255)
            self.assertIn("no longer exists", done.stderr)

    def test_the_name_criu_does_the_same(self):
        os.symlink(FAULTLINE, self.path("criu"))
        as_criu = self.run_it("--version", name=self.path("criu"))
        self.assertEqual((as_criu.returncode, as_criu.stdout), (0, self.run_it("--version").stdout))

    def test_missing_directories_are_named(self):
        done = self.run_it("check", "-D", "absent")
        self.assertEqual(done.returncode, 1)
        self.assertIn("absent", done.stderr)
        done = self.run_it("check", "-W", "nowhere")
        self.assertEqual(done.returncode, 1)
        self.assertIn("nowhere", done.stderr)

    def test_the_log_is_in_the_work_directory_and_private(self):
        os.mkdir(self.path("images"))
        os.mkdir(self.path("work"))
        done = self.run_it("check", "--feature", "nonsense", "-D", "images", "-o", "log")
        self.assertEqual(done.returncode, 1)
        self.assertIn("nonsense", done.stderr, "the person at the terminal sees the reason too")
        log = self.path("images/log")
        self.assertEqual(os.stat(log).st_mode & 0o777, 0o600)
        with open(log) as f:
            self.assertRegex(f.read(), r"^Error \(\w+\.cc:\d+\): check: .*nonsense")
        self.run_it("check", "--feature", "nonsense", "-D", "images", "-W", "work", "-o", "log", "-v4")
        with open(self.path("work/log")) as f:
            self.assertRegex(f.read(), r"^\(\d\d\.\d{6}\) Error \(")

    def test_verbosity_0_is_silent(self):
        done = self.run_it("check", "--feature", "nonsense", "-v0")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", ""))

    def test_options_without_effect_are_said(self):
        done = self.run_it("check", "--feature", "kcmp", "--leave-running")
        self.assertIn("--leave-running has no effect", done.stderr)

    def test_options_that_need_another_are_refused_and_under_the_name_criu_said(self):
        os.symlink(FAULTLINE, self.path("criu"))
        os.mkdir(self.path("empty"))
        for name, failure in ((None, "restore: --page-timeout needs --page-server"), (self.path("criu"), "no inventory.img")):
            done = self.run_it("restore", "-D", "empty", "--page-timeout", "3", name=name)
            self.assertEqual(done.returncode, 1)
            self.assertIn("--page-timeout needs --page-server", done.stderr)
            self.assertIn(failure, done.stderr)

    def test_close_closes(self):
        read_end, write_end = os.pipe()
        # The program must not hold the write end any more once it has started: it closes it before anything else.
        done = self.run_it("check", "--feature", "kcmp", "--close", str(write_end), pass_fds=[write_end])
        self.assertEqual(done.returncode, 0, done.stderr)
        os.close(read_end)
        os.close(write_end)
        done = self.run_it("check", "--feature", "kcmp", "--close", "99")
        self.assertEqual(done.returncode, 1)
        self.assertIn("99", done.stderr)

    def test_each_feature_has_a_verdict(self):
        for name in CRIU_FEATURES:
            done = self.run_it("check", "--feature", name)
            if done.returncode == 0:
                self.assertEqual(done.stdout, f"{name} is supported\n")
            else:
                self.assertEqual(done.returncode, 1)
                self.assertRegex(done.stdout, f"^{name} is not supported: .+")

    def test_check_concludes_as_its_exit_code(self):
        done = self.run_it("check")
        last = done.stdout.splitlines()[-1]
        self.assertEqual(last == "Looks good.", done.returncode == 0, done.stdout)
        everything = json.loads(self.run_it("check", "--all", "--json").stdout)
        missing = [f for f in everything["features"] if not f["found"]]
        for f in missing:
            self.assertTrue(f["reason"] and f["without"], f)
        always = [f for f in missing if f["category"] == 1]
        self.assertEqual(everything["result"] == "Does not look good.", bool(always))

    def test_missing_capabilities_are_found(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to drop capabilities")
        nobody = {"user": 65534, "group": 65534, "extra_groups": []}
        os.chmod(self.dir.name, 0o755)
        reachable = self.path("faultline")
        with open(FAULTLINE, "rb") as source, open(reachable, "wb") as copy:
            copy.write(source.read())
        os.chmod(reachable, 0o755)
        done = self.run_it("check", name=reachable, **nobody)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Does not look good.", done.stdout)
        self.assertRegex(done.stdout, r"missing +cap_sys_ptrace")

    def test_decode_prints_json(self):
        golden = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/golden")
        images = [os.path.join(root, f) for root, _, files in os.walk(golden) for f in files if f == "pstree.img"]
        self.assertTrue(images)
        done = self.run_it("decode", images[0])
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(json.loads(done.stdout)["magic"], "PSTREE")
        with open("/dev/full", "w") as full:
            done = subprocess.run([FAULTLINE, "decode", images[0]], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("No space left", done.stderr)

    def test_decode_names_what_it_cannot_read(self):
        with open(self.path("garbage.img"), "wb") as f:
            f.write(b"this is no image")
        for name in ("garbage.img", "absent.img", "."):
            done = self.run_it("decode", name)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stdout, "")
            self.assertIn(name, done.stderr)

    def test_dump_refuses_before_it_begins(self):
        os.mkdir(self.path("images"))
        for args, said in (
            (["-D", "images"], "--tree"),
            (["-t", "1", "-D", "absent"], "absent"),
            (["-t", "1", "-D", "images", "--tcp-established"], "--tcp-established"),
            (["-t", "1", "-D", "images", "--action-script", "./none"], "./none"),
            (["-t", "1", "-D", "images", "-R", "-s"], "--leave-stopped"),
        ):
            done = self.run_it("dump", *args)
            self.assertEqual(done.returncode, 1, args)
            self.assertIn(said, done.stderr)
        self.assertEqual(os.listdir(self.path("images")), [])

    def test_dump_of_nobody_fails_and_says_so_in_json(self):
        os.mkdir(self.path("images"))
        child = subprocess.Popen(["true"])
        child.wait()
        done = self.run_it("dump", "-t", str(child.pid), "-D", "images", "--json")
        self.assertEqual(done.returncode, 1)
        said = json.loads(done.stdout)
        self.assertEqual((said["command"], said["success"]), ("dump", False))
        self.assertIn(str(child.pid), said["reason"])
        self.assertNotIn("inventory.img", os.listdir(self.path("images")))

    def test_a_failing_pre_dump_script_stops_the_dump(self):
        os.mkdir(self.path("images"))
        with open(self.path("script"), "w") as f:
            f.write("#!/bin/sh\necho $CRTOOLS_SCRIPT_ACTION >> actions\nexit 3\n")
        os.chmod(self.path("script"), 0o755)
        done = self.run_it("dump", "-t", str(os.getpid()), "-D", "images", "--action-script", "./script")
        self.assertEqual(done.returncode, 1)
        self.assertIn("exit code 3 at pre-dump", done.stderr)
        with open(self.path("images/actions")) as f:
            self.assertEqual(f.read(), "pre-dump\n")

    def test_a_page_server_is_seen_by_top_and_by_prometheus(self):
        os.mkdir(self.path("images"))
        read_end, write_end = os.pipe()
        server = subprocess.Popen([FAULTLINE, "page-server", "--lazy-pages", "-D", "images", "--metrics", "0", "--status-fd", str(write_end)],
                                  cwd=self.dir.name, pass_fds=[write_end], stderr=subprocess.PIPE, text=True)
        os.close(write_end)
        try:
            self.assertEqual(os.read(read_end, 1), b"\0", "ready")
            seen = [p for p in json.loads(self.run_it("top", "--once", "--json").stdout)["processes"] if p["pid"] == server.pid]
            self.assertEqual(len(seen), 1)
            self.assertEqual((seen[0]["kind"], seen[0]["name"], seen[0]["clients"]), ("server", self.path("images"), 0))
            with urllib.request.urlopen(f"http://{seen[0]['metrics']}/metrics", timeout=20) as answer:
                self.assertIn("faultline_server_clients 0\n", answer.read().decode())
            rates = json.loads(self.run_it("top", "--once", "--json", "--interval", "1").stdout)["processes"]
            self.assertEqual([p["rates"]["requests"] for p in rates if p["pid"] == server.pid], [0.0])
        finally:
            os.close(read_end)
            server.terminate()
            said = server.communicate(timeout=20)[1]
        self.assertEqual(server.returncode, 0, said)
        left = json.loads(self.run_it("top", "--once", "--json").stdout)["processes"]
        self.assertNotIn(server.pid, [p["pid"] for p in left])

    def test_restore_refuses_before_it_begins(self):
        os.mkdir(self.path("images"))
        with open(self.path("images/taken"), "w") as f:
            f.write("1")
        for args, said in (
            ([], "images"),  # nothing is in there
            (["--dry-run"], "images"),
            (["--pidfile", "taken"], "taken exists already"),
            (["--restore-sibling"], "--restore-detached"),
            (["--exec-cmd"], "--exec-cmd"),
            (["--action-script", "./none"], "./none"),
        ):
            done = self.run_it("restore", "-D", "images", *args)
            self.assertEqual(done.returncode, 1, args)
            self.assertIn(said, done.stderr)
        self.assertEqual(os.listdir(self.path("images")), ["taken"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)  # so that skips are printed with their reasons
