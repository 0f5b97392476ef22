// ns/: what the images hold of namespaces.
#include <net/if.h>
#include <sys/mount.h>

#include <algorithm>

#include "browse/text/forms.h"
#include "browse/text/parts.h"

namespace faultline::browse {

namespace {


// The text of an image: each entry's lines one after the other.
template <typename Message>
Result<std::string> lines(Snapshot& snapshot, const std::string& file, const image::Kind& kind, void (*add_entry)(std::string&, const Message&)) {
  std::string out;
  for (const Message& entry : TRY(snapshot.entries<Message>(file, kind))) add_entry(out, entry);
  return out;
}

void add_names(std::string& out, const image::UtsnsEntry& names) { add(out, "nodename: {}\ndomainname: {}\n", names.nodename, names.domainname); }

// Each map in the form of /proc/PID/uid_map.
void add_users(std::string& out, const image::UsernsEntry& users) {
  for (const auto& [name, map] : {std::pair("uid_map:\n", &users.uid_map), std::pair("gid_map:\n", &users.gid_map)}) {
    out += name;
    for (const image::UidGidExtent& extent : *map) add(out, "{:>10} {:>10} {:>10}\n", extent.first, extent.lower_first, extent.count);
  }
}

void add_clocks(std::string& out, const image::TimensEntry& clocks) {
  add(out, "monotonic {}.{:09}\nboottime {}.{:09}\n", clocks.monotonic.tv_sec, clocks.monotonic.tv_nsec, clocks.boottime.tv_sec, clocks.boottime.tv_nsec);
}

void add_ipc(std::string& out, const image::IpcVarEntry& ipc) {
  out += "kernel.sem =";
  for (const uint32_t value : ipc.sem_ctls) add(out, " {}", value);
  add(out, "\nkernel.msgmax = {}\nkernel.msgmnb = {}\nkernel.msgmni = {}\nkernel.shmmax = {}\nkernel.shmall = {}\nkernel.shmmni = {}\nkernel.shm_rmid_forced = {}\n", ipc.msg_ctlmax,
      ipc.msg_ctlmnb, ipc.msg_ctlmni, ipc.shm_ctlmax, ipc.shm_ctlall, ipc.shm_ctlmni, ipc.shm_rmid_forced);
  add(out, "fs.mqueue.queues_max = {}\nfs.mqueue.msg_max = {}\nfs.mqueue.msgsize_max = {}\n", ipc.mq_queues_max, ipc.mq_msg_max, ipc.mq_msgsize_max);
}

std::string type_of(const image::MntEntry& mount) {
  constexpr std::pair<image::Fstype, const char*> kTypes[] = {
      {image::Fstype::PROC, "proc"}, {image::Fstype::SYSFS, "sysfs"}, {image::Fstype::DEVTMPFS, "devtmpfs"}, {image::Fstype::BINFMT_MISC, "binfmt_misc"},
      {image::Fstype::TMPFS, "tmpfs"}, {image::Fstype::DEVPTS, "devpts"}, {image::Fstype::SIMFS, "simfs"}, {image::Fstype::PSTORE, "pstore"},
      {image::Fstype::SECURITYFS, "securityfs"}, {image::Fstype::FUSECTL, "fusectl"}, {image::Fstype::DEBUGFS, "debugfs"}, {image::Fstype::CGROUP, "cgroup"},
      {image::Fstype::AUFS, "aufs"}, {image::Fstype::MQUEUE, "mqueue"}, {image::Fstype::FUSE, "fuse"}, {image::Fstype::OVERLAYFS, "overlay"},
      {image::Fstype::AUTOFS, "autofs"}, {image::Fstype::TRACEFS, "tracefs"}, {image::Fstype::CGROUP2, "cgroup2"}};
  if (mount.fsname) return *mount.fsname;
  for (const auto& [number, name] : kTypes)
    if (static_cast<uint32_t>(number) == mount.fstype) return name;
  return "unknown";
}

// "rw,nosuid,...": with or without those that are of the mount alone.
std::string options_of(uint64_t flags, bool of_mount) {
  constexpr std::pair<uint64_t, const char*> kMount[] = {{MS_NOSUID, "nosuid"}, {MS_NODEV, "nodev"}, {MS_NOEXEC, "noexec"}, {MS_NOATIME, "noatime"},
                                                         {MS_NODIRATIME, "nodiratime"}, {MS_RELATIME, "relatime"}};
  constexpr std::pair<uint64_t, const char*> kSuper[] = {{MS_SYNCHRONOUS, "sync"}, {MS_DIRSYNC, "dirsync"}, {MS_MANDLOCK, "mand"}, {MS_LAZYTIME, "lazytime"}};
  std::string out = flags & MS_RDONLY ? "ro" : "rw";
  const auto names = of_mount ? std::span<const std::pair<uint64_t, const char*>>(kMount) : std::span<const std::pair<uint64_t, const char*>>(kSuper);
  for (const auto& [bit, name] : names)
    if (flags & bit) add(out, ",{}", name);
  return out;
}

// Blanks and the like as the kernel writes them in mountinfo.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\\' || c == '#') add(out, "\\{:03o}", static_cast<unsigned char>(c));
    else out += c;
  }
  return out.empty() ? "none" : out;
}

void add_mount(std::string& out, const image::MntEntry& mount) {
  constexpr uint32_t kMinorBits = 20;
  add(out, "{} {} {}:{} {} {} {}", mount.mnt_id, mount.parent_mnt_id, mount.root_dev >> kMinorBits, mount.root_dev & ((1u << kMinorBits) - 1), escaped(mount.root),
      escaped(mount.mountpoint), options_of(mount.flags, true));
  if (mount.shared_id.value_or(0)) add(out, " shared:{}", *mount.shared_id);
  if (mount.master_id.value_or(0)) add(out, " master:{}", *mount.master_id);
  if (mount.flags & MS_UNBINDABLE) out += " unbindable";
  add(out, " - {} {} {}", type_of(mount), escaped(mount.source), options_of(mount.sb_flags.value_or(0), false));
  if (!mount.options.empty()) add(out, ",{}", mount.options);
  out += '\n';
}

const char* device_kind(image::NdType type) {
  constexpr const char* kNames[] = {"", "loopback", "veth", "tun", "external", "venet", "bridge", "macvlan", "sit"};
  const auto n = static_cast<size_t>(type);
  return n < std::size(kNames) ? kNames[n] : "";
}

void add_device(std::string& out, const image::NetDeviceEntry& device) {
  constexpr std::pair<uint32_t, const char*> kFlags[] = {{IFF_UP, "UP"}, {IFF_BROADCAST, "BROADCAST"}, {IFF_LOOPBACK, "LOOPBACK"}, {IFF_POINTOPOINT, "POINTOPOINT"},
                                                         {IFF_NOARP, "NOARP"}, {IFF_PROMISC, "PROMISC"}, {IFF_MULTICAST, "MULTICAST"}};
  std::string flags;
  for (const auto& [bit, name] : kFlags)
    if (device.flags & bit) flags += (flags.empty() ? "" : ",") + std::string(name);
  add(out, "{}: {}: <{}> mtu {} kind {}", device.ifindex, device.name, flags, device.mtu, device_kind(device.type));
  if (device.address && !device.address->empty()) {
    out += " address ";
    for (size_t i = 0; i < device.address->size(); ++i) add(out, "{}{:02x}", i ? ":" : "", static_cast<unsigned char>((*device.address)[i]));
  }
  if (device.peer_ifindex) add(out, " peer {}", *device.peer_ifindex);
  if (device.master) add(out, " master {}", *device.master);
  out += '\n';
}

// Everything of one network namespace that is no list of devices.
void add_network(std::string& out, const image::NetnsEntry& network) {
  if (network.ext_key) add(out, "external: {}\n", *network.ext_key);
  for (const image::NetnsId& id : network.nsids) add(out, "knows namespace {} as {}\n", id.target_ns_id, id.netnsid_value);
  for (const image::SysctlEntry& value : network.unix_conf)
    if (value.iarg) add(out, "net.unix.max_dgram_qlen = {}\n", *value.iarg);
  for (const image::SysctlEntry& value : network.ipv4_sysctl)
    if (value.sarg) add(out, "net.ipv4.ping_group_range = {}\n", *value.sarg);
}

// How the files are called, and of what images they are made.
struct Form {
  const char* prefix;
  const char* suffix;
  const char* image;
  Result<std::string> (*make)(Snapshot&, const std::string& file, uint32_t id);  // nullptr: the image is text already
};

Result<std::string> network_text(Snapshot& snapshot, const std::string& file, uint32_t id) {
  std::string out = TRY(lines(snapshot, file, image::kNetns, add_network));
  return out + TRY(lines(snapshot, fmt::format("netdev-{}.img", id), image::kNetdev, add_device));
}

constexpr Form kForms[] = {
    {"ipc-", "", "ipcns-var-", [](Snapshot& s, const std::string& file, uint32_t) { return lines(s, file, image::kIpcVar, add_ipc); }},
    {"mnt-", "", "mountpoints-", [](Snapshot& s, const std::string& file, uint32_t) { return lines(s, file, image::kMountpoints, add_mount); }},
    {"net-", "", "netns-", network_text},
    {"net-", ".iptables", "iptables-", nullptr},
    {"net-", ".ip6tables", "ip6tables-", nullptr},
    {"net-", ".nftables", "nftables-", nullptr},
    {"time-", "", "timens-", [](Snapshot& s, const std::string& file, uint32_t) { return lines(s, file, image::kTimens, add_clocks); }},
    {"user-", "", "userns-", [](Snapshot& s, const std::string& file, uint32_t) { return lines(s, file, image::kUserns, add_users); }},
    {"uts-", "", "utsns-", [](Snapshot& s, const std::string& file, uint32_t) { return lines(s, file, image::kUtsns, add_names); }},
};

// An image as it is.
class RawContent : public Content {
 public:
  RawContent(Snapshot& snapshot, const Images::File& file) : snapshot_(snapshot), file_(file) {}
  uint64_t size() const override { return file_.size; }
  Result<size_t> read(uint64_t offset, std::span<std::byte> to) const override { return snapshot_.images().read_raw(file_, offset, to); }

 private:
  Snapshot& snapshot_;
  const Images::File& file_;
};

}  // namespace

Names list_namespaces(Snapshot& snapshot) {
  std::vector<std::string> names;
  for (const Images::File& file : snapshot.images().files())
    for (const Form& form : kForms)
      if (const auto id = numbered(file.name, form.image, ".img")) names.push_back(fmt::format("{}{}{}", form.prefix, *id, form.suffix));
  std::ranges::sort(names);
  return names;
}

Opened open_namespace(Snapshot& snapshot, const std::string& name) {
  for (const Form& form : kForms) {
    const auto id = numbered(name, form.prefix, form.suffix);
    const std::string file = id ? fmt::format("{}{}.img", form.image, *id) : "";
    const Images::File* listed = id ? snapshot.images().file(file) : nullptr;
    if (!listed) continue;
    if (!form.make) return std::make_shared<RawContent>(snapshot, *listed);
    return content_of(TRY(form.make(snapshot, file, *id)));
  }
  return no_such("ns", name);
}

}  // namespace faultline::browse
