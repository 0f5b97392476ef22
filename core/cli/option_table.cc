#include "core/cli/option_table.h"

#include <algorithm>

#include "core/cli/option_readers.h"

namespace faultline::cli {

namespace {

using O = Options;

constexpr uint32_t D = kDump, P = kPreDump, R = kRestore, L = kLazyPages, S = kPageServer, V = kService, K = kCheck, C = kCpuinfo,
                   X = kDedup, T = kTop, M = kMount, H = kShow;
constexpr uint32_t kCriu = D | P | R | L | S | V | K | C | X | kSwrk;
constexpr uint32_t kAny = kCriu | kDecode | kTop | kShow | kMount | kUmount;  // these open no directories and no log
constexpr uint32_t kNowhere = 0;
constexpr uint32_t kTls = D | P | R | L | S | M | H;  // restore, mount and show, with a page server of their own, are Faultline's

// In the order of formats/cli-and-rpc.md, section 3. Faultline's own options come last.
const Spec kTable[] = {
    // 3.1 Directories, logging, general
    {"tree", 't', Form::kRequired, "PID", D | P, D, Group::kGeneral, &O::tree, "the process tree to checkpoint, by the pid of its root; required",
     nullptr, 1},
    {"images-dir", 'D', Form::kRequired, "DIR", kCriu & ~V, kCriu, Group::kGeneral, &O::images_dir,
     "where the images are (default: the current directory)"},
    {"work-dir", 'W', Form::kRequired, "DIR", kCriu, kCriu, Group::kGeneral, &O::work_dir,
     "where log, pid file, statistics and sockets go (default: the images directory)"},
    {"prev-images-dir", 0, Form::kRequired, "DIR", D | P | S, S, Group::kGeneral, &O::prev_images_dir,
     "the images this checkpoint builds on, relative to the images directory", "dump without it: every checkpoint is complete"},
    {"log-file", 'o', Form::kRequired, "FILE", kCriu | M, kCriu | M, Group::kGeneral, &O::log_file, "log into FILE; - is standard output (default: standard error)"},
    {"log-pid", 0, Form::kBool, nullptr, R, kNowhere, Group::kGeneral, &O::log_pid, "one log per restored process: FILE.PID",
     "all processes are logged in the one --log-file"},
    {"verbosity", 'v', Form::kOptional, "N", kAny, kAny, Group::kGeneral, &O::verbosity,
     "0 nothing, 1 errors, 2 + warnings (default), 3 + information and time stamps, 4 + details; each v of -vvv adds 1", nullptr, 0,
     read_verbosity},
    {"display-stats", 0, Form::kBool, nullptr, D | P | R, D | R, Group::kGeneral, &O::display_stats, "print statistics at the end"},
    {"pidfile", 0, Form::kRequired, "FILE", R | L | S | V | M, R | L | S | M, Group::kGeneral, &O::pidfile,
     "write the pid of the restored root, or of the daemon, into FILE, which must not exist"},
    {"leave-stopped", 's', Form::kFlag, nullptr, D | R, D | R, Group::kGeneral, &O::leave_stopped, "leave the processes stopped at the end"},
    {"leave-running", 'R', Form::kFlag, nullptr, D, D, Group::kGeneral, &O::leave_running,
     "let the processes run on after the dump (default: they are killed)"},
    {"close", 0, Form::kRequired, "FD", kAny, kAny, Group::kGeneral, &O::close, "close descriptor FD before anything else"},
    {"libdir", 'L', Form::kRequired, "DIR", D | P | R, kNowhere, Group::kGeneral, &O::libdir, "plugin directory", "there are no plugins"},
    {"action-script", 0, Form::kRequired, "PATH", D | R | L | S | V, D | R | L | S, Group::kGeneral, &O::action_script,
     "run PATH at each action, with CRTOOLS_SCRIPT_ACTION in its environment; may be given several times, the last runs first"},
    {"unprivileged", 0, Form::kBool, nullptr, kAny, kAny, Group::kGeneral, &O::unprivileged,
     "work under an effective uid other than 0, with CAP_CHECKPOINT_RESTORE"},
    {"deprecated", 0, Form::kBool, nullptr, kAny, kAny, Group::kGeneral, &O::deprecated, "allow deprecated features (there are none)"},
    {"stream", 0, Form::kBool, nullptr, D | R | C, kNowhere, Group::kGeneral, &O::stream, "pass images through the streamer",
     "without it images are files in the images directory"},
    {"config", 0, Form::kRequired, "FILE", kAny, kAny, Group::kGeneral, &O::config, "read FILE in place of the default configuration files"},
    {"no-default-config", 0, Form::kFlag, nullptr, kAny, kAny, Group::kGeneral, &O::no_default_config,
     "do not read /etc/criu/default.conf and ~/.criu/default.conf"},
    {"version", 'V', Form::kFlag, nullptr, kAllVerbs, kAllVerbs, Group::kGeneral, &O::version, "print the version"},
    {"help", 'h', Form::kFlag, nullptr, kAllVerbs, kAllVerbs, Group::kGeneral, &O::help, "print this text"},

    // 3.2 Restore mode
    {"restore-detached", 'd', Form::kBool, nullptr, R | L | S | V, R | L | S, Group::kRestore, &O::detached,
     "end when the restored processes run (default: wait until their root has ended)"},
    {"restore-sibling", 'S', Form::kBool, nullptr, R, R, Group::kRestore, &O::restore_sibling,
     "make the root a child of the caller; needs --restore-detached"},
    {"exec-cmd", 0, Form::kFlag, nullptr, R, R, Group::kRestore, &O::exec_cmd,
     "after success, become the command behind --, with the restored root as its child"},
    {"root", 'r', Form::kRequired, "DIR", R, kNowhere, Group::kRestore, &O::root, "root of the mount namespace", "mount namespaces are not restored yet"},
    {"mntns-compat-mode", 0, Form::kBool, nullptr, R, kNowhere, Group::kRestore, &O::mntns_compat_mode, "use the old mount engine",
     "mount namespaces are not restored yet"},
    {"inherit-fd", 0, Form::kRequired, "fd[N]:RES", R, kNowhere, Group::kRestore, &O::inherit_fd, "use open descriptor N in place of the resource RES"},
    {"join-ns", 'J', Form::kRequired, "TYPE:FILE", R, kNowhere, Group::kRestore, &O::join_ns, "enter an existing namespace",
     "start faultline inside it: nsenter ... faultline restore"},
    {"lsm-profile", 0, Form::kRequired, "TYPE:NAME", R, kNowhere, Group::kRestore, &O::lsm_profile, "security label to restore with",
     "labels are not restored; \"none\" is accepted", 0, nullptr, [](const O& o) { return o.lsm_profile == "none"; }},
    {"lsm-mount-context", 0, Form::kRequired, "TEXT", R, kNowhere, Group::kRestore, &O::lsm_mount_context, "SELinux context of mounts",
     "mount namespaces are not restored yet"},
    {"file-validation", 0, Form::kRequired, "filesize|buildid", D | R, kNowhere, Group::kRestore, &O::file_validation,
     "how files are compared with those at dump: by size (default), or by size and build id", "files are compared by size and mode; \"filesize\" is accepted",
     0, nullptr, [](const O& o) { return o.file_validation == "filesize"; }},
    {"skip-file-rwx-check", 0, Form::kBool, nullptr, R, R, Group::kRestore, &O::skip_file_rwx_check,
     "do not compare the permission bits of files with those at dump"},
    {"weak-sysctls", 0, Form::kBool, nullptr, R, kNowhere, Group::kRestore, &O::weak_sysctls, "ignore sysctls that the kernel lacks",
     "no sysctls are restored; leave it out"},

    // 3.3 What may be dumped
    {"shell-job", 'j', Form::kBool, nullptr, D | R, D | R, Group::kObjects, &O::shell_job,
     "the program was started from a shell: its session, group or terminal are the caller's"},
    {"file-locks", 'l', Form::kBool, nullptr, D | R, kNowhere, Group::kObjects, &O::file_locks, "save and restore file locks"},
    {"ext-unix-sk", 'x', Form::kOptional, "INO[,INO]", D | R, kNowhere, Group::kObjects, &O::ext_unix_sk,
     "accept datagram unix sockets with a peer outside", nullptr, 0, read_ext_unix_sk},
    {"tcp-established", 0, Form::kBool, nullptr, D | R, kNowhere, Group::kObjects, &O::tcp_established, "save and restore TCP connections",
     "close the connections before the dump"},
    {"skip-in-flight", 0, Form::kBool, nullptr, D, kNowhere, Group::kObjects, &O::skip_in_flight, "ignore half-open TCP connections"},
    {"tcp-close", 0, Form::kBool, nullptr, D | R, kNowhere, Group::kObjects, &O::tcp_close, "restore TCP connections as closed sockets",
     "close the connections before the dump"},
    {"network-lock", 0, Form::kRequired, "iptables|nftables|skip|none", D, D, Group::kObjects, &O::network_lock,
     "how traffic of TCP connections is stopped; without effect as long as none are saved"},
    {"evasive-devices", 0, Form::kBool, nullptr, D, D, Group::kObjects, &O::evasive_devices, "accept any path to the same device"},
    {"link-remap", 0, Form::kBool, nullptr, D, kNowhere, Group::kObjects, &O::link_remap,
     "make temporary hard links for unlinked files that still have another name", "unlinked files up to --ghost-limit are saved in the images"},
    {"ghost-limit", 0, Form::kRequired, "SIZE", D, D, Group::kObjects, &O::ghost_limit,
     "largest unlinked file to store, in allocated bytes; K, M and G are units (default: 1M)"},
    {"ghost-fiemap", 0, Form::kBool, nullptr, D, D, Group::kObjects, &O::ghost_fiemap,
     "how holes of unlinked files are found; the kernel is asked in the best way either way"},
    {"force-irmap", 0, Form::kBool, nullptr, D | P, kNowhere, Group::kObjects, &O::force_irmap, "find the paths of inotify watches by scanning",
     "file handles are used"},
    {"irmap-scan-path", 0, Form::kRequired, "PATH", D | P, kNowhere, Group::kObjects, &O::irmap_scan_path, "scan PATH too",
     "file handles are used"},
    {"external", 0, Form::kRequired, "TYPE[ID]:VALUE", D | R, kNowhere, Group::kObjects, &O::external, "a resource that stays outside the checkpoint"},
    {"ext-mount-map", 'M', Form::kRequired, "KEY:VAL", D | R, kNowhere, Group::kObjects, &O::ext_mount_map, "older form of --external mnt[KEY]:VAL"},
    {"enable-external-sharing", 0, Form::kFlag, nullptr, D | R, kNowhere, Group::kObjects, &O::enable_external_sharing, "allow shared external mounts"},
    {"enable-external-masters", 0, Form::kFlag, nullptr, D | R, kNowhere, Group::kObjects, &O::enable_external_masters, "allow slave external mounts"},
    {"veth-pair", 0, Form::kRequired, "IN=OUT", R, kNowhere, Group::kObjects, &O::veth_pair, "older form of --external veth[IN]:OUT"},
    {"skip-mnt", 0, Form::kRequired, "PATH", D, kNowhere, Group::kObjects, &O::skip_mnt, "leave out a mount", "mount namespaces are not saved yet"},
    {"enable-fs", 0, Form::kRequired, "NAME[,NAME]", D | R, kNowhere, Group::kObjects, &O::enable_fs, "file systems that a plain mount restores",
     "mount namespaces are not saved yet"},
    {"empty-ns", 0, Form::kRequired, "net", D | R, kNowhere, Group::kObjects, &O::empty_ns, "make this namespace, but leave it empty",
     "namespaces are not saved yet"},
    {"allow-uprobes", 0, Form::kBool, nullptr, D | R, kNowhere, Group::kObjects, &O::allow_uprobes, "accept a uprobes area"},
    {"timeout", 0, Form::kRequired, "SECONDS", D | P, D, Group::kObjects, &O::timeout, "time limit for stopping the processes (default: 10)", nullptr, 1},
    {"freeze-cgroup", 0, Form::kRequired, "PATH", D | P, kNowhere, Group::kObjects, &O::freeze_cgroup, "stop the processes through this cgroup",
     "without it they are stopped through ptrace"},

    // 3.4 Cgroups
    {"manage-cgroups", 0, Form::kOptional, "ignore|none|props|soft|full|strict", D | R, kNowhere, Group::kCgroups, &O::manage_cgroups,
     "how cgroups are restored; only \"ignore\" yet: restored processes stay in the caller's", "use --manage-cgroups=ignore", 0, read_manage_cgroups,
     [](const O& o) { return o.manage_cgroups == "ignore"; }},
    {"cgroup-root", 0, Form::kRequired, "[CTRL:]/PATH", D | R, kNowhere, Group::kCgroups, &O::cgroup_root, "root of the cgroups",
     "start faultline in the cgroup wanted"},
    {"cgroup-props", 0, Form::kRequired, "TEXT", D, kNowhere, Group::kCgroups, &O::cgroup_props, "properties to save"},
    {"cgroup-props-file", 0, Form::kRequired, "FILE", D, kNowhere, Group::kCgroups, &O::cgroup_props_file, "the same from a file"},
    {"cgroup-dump-controller", 0, Form::kRequired, "NAME", D, kNowhere, Group::kCgroups, &O::cgroup_dump_controller, "save only these controllers"},
    {"cgroup-yard", 0, Form::kRequired, "DIR", D | R, kNowhere, Group::kCgroups, &O::cgroup_yard, "directory of mounted controllers"},

    // 3.5 Memory, page server, lazy pages
    {"track-mem", 0, Form::kBool, nullptr, D | P, kNowhere, Group::kMemory, &O::track_mem, "start tracking of changed pages",
     "every checkpoint is complete yet"},
    {"auto-dedup", 0, Form::kBool, nullptr, D | P | R | S, kNowhere, Group::kMemory, &O::auto_dedup, "drop pages of parent images that are newer here"},
    {"pre-dump-mode", 0, Form::kRequired, "splice|read", P, kNowhere, Group::kMemory, &O::pre_dump_mode, "how memory is taken"},
    {"page-server", 0, Form::kBool, nullptr, D | P | R | L, D | R | L, Group::kMemory, &O::page_server, "send pages to, or fetch pages from, a page server",
     "put the images on a shared file system"},
    {"address", 0, Form::kRequired, "HOST", D | P | R | L | S | V, D | R | L | S, Group::kMemory, &O::address, "address of the page server (default: 127.0.0.1)"},
    {"port", 0, Form::kRequired, "PORT", D | P | R | L | S, D | R | L | S, Group::kMemory, &O::port,
     "port of the page server; a server without it, or with 0, takes one that is free", nullptr, 0},
    {"ps-socket", 0, Form::kRequired, "FD", D | P | R | S | L, D | R | L | S, Group::kMemory, &O::ps_socket, "connected socket to the page server"},
    {"lazy-pages", 0, Form::kFlag, nullptr, D | R | S, D | R | S, Group::kMemory, &O::lazy_pages,
     "let the program run at once; a pager brings its memory when it is touched, and the rest in the background",
     "restore from the images with --lazy-pages"},
    {"daemon", 0, Form::kBool, nullptr, R | L | S | V | M, R | L | S | M, Group::kMemory, &O::detached,
     "run in the background (the same switch as -d; what mount does anyway)"},
    {"status-fd", 0, Form::kRequired, "FD", D | L | S | V | M, D | L | S | M, Group::kMemory, &O::status_fd, "write one zero byte to FD, and close it, when ready"},
    {"tls", 0, Form::kBool, nullptr, kTls, kTls & ~P, Group::kMemory, &O::tls,
     "encrypt the connection to the page server; both sides show a certificate"},
    {"tls-cacert", 0, Form::kRequired, "FILE", kTls, kTls & ~P, Group::kMemory, &O::tls_cacert,
     "the authority that issued the other side's certificate (default: /etc/pki/CA/cacert.pem and those of the system)"},
    {"tls-cacrl", 0, Form::kRequired, "FILE", kTls, kTls & ~P, Group::kMemory, &O::tls_cacrl,
     "its list of revoked certificates (default: /etc/pki/CA/cacrl.pem, if it is there)"},
    {"tls-cert", 0, Form::kRequired, "FILE", kTls, kTls & ~P, Group::kMemory, &O::tls_cert, "own certificate (default: /etc/pki/criu/cert.pem)"},
    {"tls-key", 0, Form::kRequired, "FILE", kTls, kTls & ~P, Group::kMemory, &O::tls_key, "its key (default: /etc/pki/criu/private/key.pem)"},
    {"tls-no-cn-verify", 0, Form::kFlag, nullptr, kTls, kTls & ~P, Group::kMemory, &O::tls_no_cn_verify,
     "do not compare --address with the names in the other side's certificate"},

    // 3.6 CPU and checks
    {"cpu-cap", 0, Form::kOptional, "fpu,cpu,ins,all,none", D | R | C, kNowhere, Group::kCpu, &O::cpu_cap,
     "which properties of the processor must be equal", "leave it out, or use --cpu-cap=none", 0, read_cpu_cap,
     [](const O& o) { return o.cpu_cap == 0; }},
    {"extra", 0, Form::kBool, nullptr, K, K, Group::kCpu, &O::extra, "also check what only some programs need"},
    {"experimental", 0, Form::kBool, nullptr, K, K, Group::kCpu, &O::experimental, "also check what is not used yet"},
    {"all", 0, Form::kFlag, nullptr, K, K, Group::kCpu, &O::all, "--extra and --experimental"},
    {"feature", 0, Form::kRequired, "NAME", K, K, Group::kCpu, &O::feature, "check this one feature only"},
    {"ms", 0, Form::kFlag, nullptr, kNowhere, kNowhere, Group::kCpu, &O::help, "", nullptr, 0, read_removed},

    // Faultline's own
    {"prefetch", 0, Form::kRequired, "auto|none|sequential|recorded", R | L, R | L, Group::kOwn, &O::prefetch,
     "which memory is brought before it is asked for: none, all in order, or first what was touched first last time "
     "(default: recorded where there is a recording, else sequential)"},
    {"record", 0, Form::kBool, nullptr, R | L, R | L, Group::kOwn, &O::record, "record which memory is touched first, next to the images (default: on)"},
    {"sync", 0, Form::kBool, nullptr, D, D, Group::kOwn, &O::sync, "images are on stable storage before the processes end (default: on)"},
    {"new-pidns", 0, Form::kFlag, nullptr, R, R, Group::kOwn, &O::new_pidns, "restore into a fresh pid namespace, where no pid is taken"},
    {"allow", 0, Form::kRequired, "NAME", D | S, D | S, Group::kOwn, &O::allow,
     "serve only clients with this name in their certificate, in place of the own --address; may be given several times; needs --tls"},
    {"insecure-network", 0, Form::kFlag, nullptr, D | R | L | S | M | H, D | R | L | S | M | H, Group::kOwn, &O::insecure_network,
     "let memory go unencrypted over a network that is not this machine's own loopback"},
    {"checkpoint", 0, Form::kRequired, "NAME", R | L, R | L, Group::kOwn, &O::checkpoint,
     "which checkpoint of the page server, by its path below the directory that is served (default: the one in that directory itself)"},
    {"page-timeout", 0, Form::kRequired, "SECONDS", D | R | L | M | H, D | R | L | M | H, Group::kOwn, &O::page_timeout,
     "how long a program, or a reader of a mount, waits for a server that does not answer (default: 60)", nullptr, 1},
    {"on-page-loss", 0, Form::kRequired, "stop|kill", R | L, R | L, Group::kOwn, &O::on_page_loss,
     "what is done with it then: stop it until pages come again (default), or kill it"},
    {"compress", 0, Form::kRequired, "auto|none|lz4|zstd", S, S, Group::kOwn, &O::compress,
     "how pages are packed for clients that ask for it, as ours do unless they come over loopback, where it costs more than it saves (default: auto, which is lz4)"},
    {"max-clients", 0, Form::kRequired, "N", S, S, Group::kOwn, &O::max_clients, "how many connections are served at a time (default: 1024)", nullptr, 1},
    {"portfile", 0, Form::kRequired, "FILE", D | S, D | S, Group::kOwn, &O::portfile, "write the number of the port that is listened on into FILE, which must not exist"},
    {"metrics", 0, Form::kRequired, "[HOST:]PORT", D | R | L | S, D | R | L | S, Group::kOwn, &O::metrics,
     "answer Prometheus there over HTTP, at /metrics (default host: 127.0.0.1)"},
    {"heat", 0, Form::kFlag, nullptr, H, H, Group::kOwn, &O::heat, "show which pages were touched first, where a lazy restore has recorded it"},
    {"html", 0, Form::kRequired, "FILE", H, H, Group::kOwn, &O::html, "write that as a page for a browser into FILE; - is standard output"},
    {"allow-other", 0, Form::kFlag, nullptr, M, M, Group::kOwn, &O::allow_other, "let other users look at the mount too"},
    {"against", 0, Form::kRequired, "DIR", M, M, Group::kOwn, &O::against,
     "an older checkpoint (a directory, or faultline://HOST:PORT/NAME) that diff/ compares this one with"},
    {"foreground", 0, Form::kFlag, nullptr, M, M, Group::kOwn, &O::foreground, "do not go to the background"},
    {"once", 0, Form::kFlag, nullptr, T, T, Group::kOwn, &O::once, "print one picture and end; totals only, or with --interval also rates"},
    {"interval", 0, Form::kRequired, "SECONDS", T, T, Group::kOwn, &O::interval, "time between two pictures (default: 1)", nullptr, 1},
    {"dry-run", 0, Form::kFlag, nullptr, R, R, Group::kOwn, &O::dry_run, "print the plan, restore nothing"},
    {"json", 0, Form::kBool, nullptr, D | R | K | S | T | H, D | R | K | S | T | H, Group::kOwn, &O::json, "results as JSON on standard output"},
    {"progress", 0, Form::kBool, nullptr, D | R | H, D | R | H, Group::kOwn, &O::progress, "progress bar on standard error (default: if it is a terminal)"},
};

}  // namespace

std::span<const Spec> option_table() { return kTable; }

bool is_default(const Spec& spec, const Options& options) {
  static const Options defaults;
  return std::visit([&](auto member) { return options.*member == defaults.*member; }, spec.member);
}

}  // namespace faultline::cli
