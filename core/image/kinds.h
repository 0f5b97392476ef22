#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace faultline::image {

// What follows an entry without a size word of its own (formats/image-files.md, section 3).
enum class Payload { kNone, kPipeData, kSocketPacket, kTcpStream, kGhost, kIpcShm, kIpcMsg, kIpcSem, kBpfMap };

// One kind of image file. `message` is the name of its entries in the .proto files; `first` that of the first entry where it differs.
struct Kind {
  std::string_view magic_name;  // as crit prints it
  uint32_t magic;
  std::string_view message;
  std::string_view first = {};
  Payload payload = Payload::kNone;
  bool service = false;  // has the head magic of service files, and no ".img" at the end of its name
};

inline constexpr uint32_t kCommonMagic = 0x54564319;   // head of an ordinary image, format v1.1
inline constexpr uint32_t kServiceMagic = 0x55105940;  // head of a service file

inline constexpr Kind kInventory = {"INVENTORY", 0x58313116, "inventory_entry"};
inline constexpr Kind kPstree = {"PSTREE", 0x50273030, "pstree_entry"};
inline constexpr Kind kSeccomp = {"SECCOMP", 0x64413049, "seccomp_entry"};
inline constexpr Kind kCore = {"CORE", 0x55053847, "core_entry"};
inline constexpr Kind kIds = {"IDS", 0x54432030, "task_kobj_ids_entry"};
inline constexpr Kind kMm = {"MM", 0x57492820, "mm_entry"};
inline constexpr Kind kPagemap = {"PAGEMAP", 0x56084025, "pagemap_entry", "pagemap_head"};
inline constexpr Kind kFs = {"FS", 0x51403912, "fs_entry"};
inline constexpr Kind kFdinfo = {"FDINFO", 0x56213732, "fdinfo_entry"};
inline constexpr Kind kFiles = {"FILES", 0x56303138, "file_entry"};
inline constexpr Kind kRemapFpath = {"REMAP_FPATH", 0x59133954, "remap_file_path_entry"};
inline constexpr Kind kGhostFile = {"GHOST_FILE", 0x52583605, "ghost_file_entry", {}, Payload::kGhost};
inline constexpr Kind kMemfdInode = {"MEMFD_INODE", 0x48453499, "memfd_inode_entry"};
inline constexpr Kind kPipesData = {"PIPES_DATA", 0x56453709, "pipe_data_entry", {}, Payload::kPipeData};
inline constexpr Kind kFifoData = {"FIFO_DATA", 0x59333054, "pipe_data_entry", {}, Payload::kPipeData};
inline constexpr Kind kSkQueues = {"SK_QUEUES", 0x56264026, "sk_packet_entry", {}, Payload::kSocketPacket};
inline constexpr Kind kTtyInfo = {"TTY_INFO", 0x59453036, "tty_info_entry"};
inline constexpr Kind kTtyData = {"TTY_DATA", 0x59413026, "tty_data_entry"};
inline constexpr Kind kTimens = {"TIMENS", 0x43114433, "timens_entry"};
inline constexpr Kind kCgroup = {"CGROUP", 0x59383330, "cgroup_entry"};
inline constexpr Kind kTcpStream = {"TCP_STREAM", 0x51465506, "tcp_stream_entry", {}, Payload::kTcpStream};
inline constexpr Kind kUtsns = {"UTSNS", 0x54473203, "utsns_entry"};
inline constexpr Kind kIpcVar = {"IPC_VAR", 0x53115007, "ipc_var_entry"};
inline constexpr Kind kUserns = {"USERNS", 0x55474906, "userns_entry"};
inline constexpr Kind kMountpoints = {"MNTS", 0x55563928, "mnt_entry"};
inline constexpr Kind kNetns = {"NETNS", 0x55933752, "netns_entry"};
inline constexpr Kind kNetdev = {"NETDEV", 0x57373951, "net_device_entry"};
inline constexpr Kind kStats = {"STATS", 0x57093306, "stats_entry", {}, Payload::kNone, true};

// Ours: calls that are continued with the time that is left.
inline constexpr Kind kInterruptedCalls = {"INTERRUPTED_CALLS", 0x4641494c, "interrupted_call_entry", {}, Payload::kNone, true};
inline constexpr char kInterruptedCallsFile[] = "interrupted-calls";
// Ours too: tool and machine of the dump. CRIU leaves it alone, so that one in a directory that CRIU has written to is of an earlier dump.
inline constexpr Kind kOrigin = {"ORIGIN", 0x464c4f52, "origin_entry", {}, Payload::kNone, true};
inline constexpr char kOriginFile[] = "origin";
// Ours as well, text for people: a page server has received all memory of a dump into this directory. Where the other images are elsewhere, it
// stands for the inventory: without either, nobody can tell what is whole from what broke off.
inline constexpr char kMemoryReceivedFile[] = "memory-received";
inline constexpr char kInventoryFile[] = "inventory.img";

// The kind with this magic (and service head or not); nullptr if there is none. All kinds of the format are known, also those above
// that only a reader meets.
std::span<const Kind> all_kinds();
const Kind* kind_of(uint32_t magic, bool service);

}  // namespace faultline::image
