#include "core/cli/remote.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/log.h"
#include "core/cli/page_server_link.h"
#include "pageserver/listing.h"

namespace faultline::cli {

namespace {

uint64_t random_number() {
  uint64_t number = 0;
  FL_CHECK(::getrandom(&number, sizeof number, 0) == sizeof number);
  return number;
}

// A descriptor that the caller has connected: it serves once. TLS is left out on it, as CRIU does (formats/page-server-protocol.md, section 5).
void use_inherited(RemoteServer& server, int fd) {
  server.options.name = fmt::format("on descriptor {}", fd);
  server.options.single = true;
  server.options.connect = [socket = std::make_shared<UniqueFd>(fd)]() -> Result<std::unique_ptr<pageserver::Stream>> {
    if (!*socket) return error(ENOTCONN, "the connection that was inherited (--ps-socket) is lost, and there is no other");
    return pageserver::plain_stream(std::move(*socket));
  };
}

bool is_memory(const std::string& name) { return name.starts_with("pagemap-") || name.starts_with("pages-"); }

std::vector<pageserver::Listed> missing_of(const std::vector<pageserver::Listed>& listed, const image::ImageDir& dir) {
  const bool none = !dir.exists(image::kInventoryFile);
  const bool no_memory = std::ranges::any_of(listed, [&](const pageserver::Listed& f) { return is_memory(f.name) && !dir.exists(f.name); });
  std::vector<pageserver::Listed> missing;
  for (const pageserver::Listed& file : listed)
    if (none || (no_memory && is_memory(file.name))) missing.push_back(file);
  return missing;
}

Result<void> fetch_one(pageserver::Client& client, const pageserver::Listed& file, const image::ImageDir& dir, std::chrono::milliseconds timeout) {
  const UniqueFd to = TRY(dir.open_file(file.name, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  uint64_t size = 0;
  auto done = client.get_file(file.name, timeout, [&](std::span<const std::byte> bytes) {
    size += bytes.size();
    return write_all(to.get(), bytes.data(), bytes.size(), file.name.c_str());
  });
  if (done && size != file.size) done = error(EBADMSG, "{} bytes came, {} were announced", size, file.size);
  if (done) return {};
  (void)dir.remove(file.name);
  return wrap(done.error(), "{}/{}", dir.name(), file.name);
}

}  // namespace

Result<std::unique_ptr<RemoteServer>> remote_server(const Options& o) {
  if (!o.page_server) return std::unique_ptr<RemoteServer>();
  auto server = std::make_unique<RemoteServer>();
  lazy::RemoteOptions& options = server->options;
  options.client = {.checkpoint = o.checkpoint, .client = random_number(), .compressions = 0};
  options.page_timeout = std::chrono::seconds(o.page_timeout);
  options.on_loss = o.on_page_loss == "kill" ? lazy::OnPageLoss::kKill : lazy::OnPageLoss::kStop;
  if (o.ps_socket >= 0) {
    use_inherited(*server, o.ps_socket);
    return server;
  }
  server->tls = TRY(tls_context(o));
  PageServerLink link = TRY(link_page_server(o.address, static_cast<uint16_t>(o.port), server->tls.get(), o));
  options.connect = std::move(link.connect);
  options.name = std::move(link.name);
  options.client.compressions = link.compressions;
  return server;
}

Result<void> fetch_images(RemoteServer& server, const image::ImageDir& dir) {
  TRY(server.options.connect_first());
  pageserver::Client& client = *server.options.first;
  if (client.speaks_criu()) return {};
  const auto listed = TRY(pageserver::parse_listing(TRY(client.list_files(server.options.page_timeout))));
  const auto is_inventory = [](const pageserver::Listed& file) { return file.name == image::kInventoryFile; };
  if (!dir.exists(image::kInventoryFile) && std::ranges::none_of(listed, is_inventory))
    return error(ENOENT, "{} has only the memory of this checkpoint, and {} has no inventory.img; give the directory of the dump that has the other images with -D",
                 server.options.name, dir.name());
  for (const pageserver::Listed& file : missing_of(listed, dir)) TRY(fetch_one(client, file, dir, server.options.page_timeout));
  return {};
}

}  // namespace faultline::cli
