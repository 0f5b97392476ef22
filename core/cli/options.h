#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"

namespace faultline::cli {

// The commands, as bits, so that a set of them says where an option has an effect.
enum Verb : uint32_t {
  kNoVerb = 0,
  kDump = 1 << 0,
  kPreDump = 1 << 1,
  kRestore = 1 << 2,
  kLazyPages = 1 << 3,
  kPageServer = 1 << 4,
  kService = 1 << 5,
  kCheck = 1 << 6,
  kCpuinfo = 1 << 7,
  kDedup = 1 << 8,
  kSwrk = 1 << 9,
  kDecode = 1 << 10,
  kGone = 1 << 11,  // exec, which CRIU had once, and under its name also show
  kTop = 1 << 12,
  kMount = 1 << 13,
  kUmount = 1 << 14,
  kShow = 1 << 15,
  kAllVerbs = (1 << 16) - 1,
};

// kNoVerb if there is no such command.
Verb verb_of(std::string_view word);

// CRIU's --cpu-cap bits. Any use of the option but "none" adds kCpuImage.
enum CpuCap : int { kCpuFpu = 1, kCpuCpu = 2, kCpuIns = 4, kCpuAll = 7, kCpuImage = 8 };

// What the user asked for: configuration files, then the command line. Plain data; the defaults are those of CRIU 4.2.
// Names are those of the long options; what each means stands in the table (option_table.cc).
struct Options {
  Verb verb = kNoVerb;
  std::string verb_name;
  std::vector<std::string> words;  // what stands behind the command: a file to decode, what to mount where, the command after --exec-cmd
  bool as_criu = false;  // started under the name criu
  // Options of the command line that have no effect in this command: "--leave-running". (A configuration file serves all commands.)
  std::vector<std::string> without_effect;
  // The same for those that lack another one, or are beside one that leaves them none, as sentences: "--compress needs --lazy-pages: ...".
  std::vector<std::string> unpaired;

  // Directories, logging, general. Relative names of log and pid file are relative to the work directory.
  int tree = 0;
  std::string images_dir = ".";
  std::string work_dir;  // empty: the images directory
  std::string prev_images_dir;
  std::string log_file;
  bool log_pid = false;
  int verbosity = 2;
  bool display_stats = false;
  std::string pidfile;
  bool leave_stopped = false;
  bool leave_running = false;
  std::vector<std::string> close;
  std::string libdir = "/usr/lib/criu";
  std::vector<std::string> action_script;
  bool unprivileged = false;
  bool deprecated = false;
  bool stream = false;
  std::string config;
  bool no_default_config = false;
  bool version = false;
  bool help = false;

  // Restore mode.
  bool detached = false;  // --restore-detached, --daemon and -d are one switch
  bool restore_sibling = false;
  bool exec_cmd = false;
  std::string root;
  bool mntns_compat_mode = false;
  std::vector<std::string> inherit_fd;
  std::vector<std::string> join_ns;
  std::string lsm_profile;
  std::string lsm_mount_context;
  std::string file_validation = "filesize";
  bool skip_file_rwx_check = false;
  bool weak_sysctls = false;

  // What may be dumped.
  bool shell_job = false;
  bool file_locks = false;
  bool ext_unix_sk = false;
  std::vector<std::string> ext_unix_sk_inodes;
  bool tcp_established = false;
  bool skip_in_flight = false;
  bool tcp_close = false;
  std::string network_lock = "iptables";
  bool evasive_devices = false;
  bool link_remap = false;
  uint64_t ghost_limit = 1 << 20;  // bytes
  bool ghost_fiemap = true;
  bool force_irmap = false;
  std::vector<std::string> irmap_scan_path;
  std::vector<std::string> external;
  std::vector<std::string> ext_mount_map;
  bool enable_external_sharing = false;
  bool enable_external_masters = false;
  std::vector<std::string> veth_pair;
  std::vector<std::string> skip_mnt;
  std::vector<std::string> enable_fs;
  std::string empty_ns;
  bool allow_uprobes = false;
  int timeout = 10;  // seconds
  std::string freeze_cgroup;

  // Cgroups.
  std::string manage_cgroups;  // empty: not given
  std::vector<std::string> cgroup_root;
  std::string cgroup_props;
  std::string cgroup_props_file;
  std::vector<std::string> cgroup_dump_controller;
  std::string cgroup_yard;

  // Memory, page server, lazy pages.
  bool track_mem = false;
  bool auto_dedup = false;
  std::string pre_dump_mode = "splice";
  bool page_server = false;
  std::string address;
  int port = 0;
  int ps_socket = -1;
  bool lazy_pages = false;
  int status_fd = -1;
  bool tls = false;
  std::string tls_cacert;  // empty, here and below: CRIU's default place (pageserver/tls.h)
  std::string tls_cacrl;
  std::string tls_cert;
  std::string tls_key;
  bool tls_no_cn_verify = false;

  // CPU and checks.
  int cpu_cap = kCpuFpu | kCpuIns;
  bool extra = false;
  bool experimental = false;
  bool all = false;
  std::string feature;

  // Faultline's own.
  std::string prefetch = "auto";  // recorded where a recording exists, else sequential
  bool record = true;
  bool sync = true;
  bool new_pidns = false;
  std::vector<std::string> allow;
  bool insecure_network = false;
  std::string checkpoint;
  int page_timeout = 60;  // seconds
  std::string on_page_loss = "stop";
  std::string compress = "auto";
  int max_clients = 1024;
  std::string portfile;
  std::string metrics;
  bool heat = false;
  std::string html;
  bool allow_other = false;
  std::string against;
  bool foreground = false;
  bool once = false;
  int interval = 0;  // seconds; 0: not given
  bool dry_run = false;
  bool json = false;
  std::string progress = "auto";  // "yes", "no", or as the terminal is

  bool operator==(const Options&) const = default;
};

// Parses the command line, with the configuration files that apply under it (formats/cli-and-rpc.md, sections 2 and 6).
// `args` is argv with argv[0]. The environment is read: HOME, CRIU_CONFIG_FILE, CRIU_DEPRECATED.
// Not thread-safe: getopt_long has global state.
// Errors: EINVAL with a sentence for the user; for configuration files it names file and line.
Result<Options> parse(std::span<const char* const> args);

// Parses only these words over `options`; `source` is for messages, for example "/etc/criu/default.conf:3", or empty for the command line.
// Words that are no options are appended to options.words.
Result<void> parse_words(std::span<const char* const> args, const std::string& source, Options& options);

// Errors: ENOSYS if an option was given whose function does not exist for this command yet, and that would change what is done;
// EINVAL if options contradict each other, or have no effect as they stand together (under the name criu, as there: only a warning). The sentence names the option and the way out.
Result<void> validate(const Options& options);

// "10", "1K", "2M", "1G" in bytes. Errors: EINVAL, ERANGE.
Result<uint64_t> parse_size(std::string_view text);

}  // namespace faultline::cli
