#include "pageserver/tls.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <random>

#include "pageserver/endpoint.h"
#include "pageserver/test_certificates.h"

using namespace faultline;
using namespace faultline::pageserver;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct Pair {
  UniqueFd server, client;
};

// `buffer`: bytes of each socket buffer, 0: as they are.
Pair socket_pair(int buffer = 0) {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  for (int fd : ends)
    if (buffer) REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer) == 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Pair tcp_pair(int buffer = 0) {
  auto listener = listen_on("127.0.0.1", 0).value();
  if (buffer) REQUIRE(::setsockopt(listener.socket.get(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer) == 0);
  Pair pair;
  pair.client = connect_to("127.0.0.1", listener.port, 5000).value();
  pair.server = UniqueFd(::accept(listener.socket.get(), nullptr, nullptr));
  REQUIRE(pair.server);
  for (int fd : {pair.server.get(), pair.client.get()})
    if (buffer) REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer) == 0);
  return pair;
}

// One side of a conversation: what it still has to say and to hear, and how it ended.
struct Side {
  std::unique_ptr<Stream> stream;
  std::string to_send, heard;
  size_t to_hear = 1, sent = 0;
  size_t piece = 1 << 20;  // bytes per iovec
  std::optional<Error> failure;
  std::vector<std::string> peer_names;

  bool done() const { return failure || (sent == to_send.size() && heard.size() >= to_hear); }
  // Whether anything went.
  bool step();
};

bool Side::step() {
  if (!stream || failure) return false;
  bool moved = false;
  if (sent < to_send.size()) {
    const size_t left = to_send.size() - sent, first = std::min(left, piece - sent % piece), second = std::min(left - first, piece);
    const iovec parts[] = {{to_send.data() + sent, first}, {to_send.data() + sent + first, second}};
    const auto n = stream->write(parts);
    if (!n) failure = n.error();
    else sent += *n, moved |= *n > 0;
  }
  if (!failure) {
    char buffer[50000];
    const auto n = stream->read(std::as_writable_bytes(std::span(buffer)));
    if (!n) failure = n.error();
    else heard.append(buffer, *n), moved |= *n > 0;
  }
  peer_names = stream->peer_names();
  // Whoever fails goes, and the other side notices.
  if (failure) {
    stream->shutdown();
    stream.reset();
  }
  return moved;
}

// Until both have said and heard everything, or failed. Polls for what the streams say they want, so that a wrong answer hangs the test.
void converse(Side& a, Side& b) {
  while (!a.done() || !b.done()) {
    if (a.step() | b.step()) continue;
    pollfd wait[2];
    nfds_t count = 0;
    for (Side* side : {&a, &b}) {
      if (!side->stream || side->done()) continue;
      short events = side->stream->wanted_by_read();
      if (side->sent < side->to_send.size()) events |= side->stream->wanted_by_write();
      wait[count++] = {.fd = side->stream->fd(), .events = events, .revents = 0};
    }
    if (count > 0) REQUIRE(::poll(wait, count, 10000) > 0);
  }
}

struct Outcome {
  Side server, client;
};

Outcome meet(const TlsOptions& server, const TlsOptions& client, const std::string& server_wants = "", const std::string& client_wants = "") {
  signal(SIGPIPE, SIG_IGN);
  const TlsContext server_context = TlsContext::make(server).value(), client_context = TlsContext::make(client).value();
  Pair sockets = socket_pair();
  Outcome o;
  o.server.stream = tls_stream(std::move(sockets.server), server_context, TlsRole::kServer, server_wants).value();
  o.client.stream = tls_stream(std::move(sockets.client), client_context, TlsRole::kClient, client_wants).value();
  o.server.to_send = "s", o.client.to_send = "c";
  converse(o.server, o.client);
  o.server.stream.reset(), o.client.stream.reset();  // before the contexts
  return o;
}

// Both fail; the texts hold these parts.
void refused(const Outcome& o, const std::string& server_says, const std::string& client_says) {
  REQUIRE(o.server.failure);
  REQUIRE(o.client.failure);
  INFO("server: " << o.server.failure->what << "\nclient: " << o.client.failure->what);
  CHECK(contains(o.server.failure->what, server_says));
  CHECK(contains(o.client.failure->what, client_says));
  CHECK(o.server.heard.empty());
}

void accepted(const Outcome& o) {
  INFO("server: " << (o.server.failure ? o.server.failure->what : "-") << "\nclient: " << (o.client.failure ? o.client.failure->what : "-"));
  CHECK(!o.server.failure);
  CHECK(!o.client.failure);
  CHECK((o.server.heard == "c" && o.client.heard == "s"));
}

std::string random_text(size_t size) {
  std::mt19937_64 random(size);
  std::string text(size, 0);
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

std::string failure_of(const TlsOptions& options) {
  const auto made = TlsContext::make(options);
  REQUIRE(!made);
  return made.error().what;
}

}  // namespace

TEST_CASE("two sides with certificates of one authority meet, and know each other's names") {
  const TestDir dir;
  TestAuthority authority(dir, "one");
  const TlsOptions server = authority.make("server", {"server", "DNS:server.test,DNS:*.pool.test,IP:127.0.0.1,IP:::1"});
  const TlsOptions client = authority.make("client", {"client", ""});
  Outcome o = meet(server, client);
  accepted(o);
  CHECK(o.server.peer_names == std::vector<std::string>{"client"});
  CHECK(o.client.peer_names == std::vector<std::string>{"server", "server.test", "*.pool.test", "127.0.0.1", "::1"});
  for (const char* name : {"server.test", "SERVER.test", "a.pool.test", "127.0.0.1", "::1"}) accepted(meet(server, client, "", name));
  // The common name counts where there are no alternatives, and may be an address, as for GnuTLS.
  accepted(meet(server, client, "client"));
  accepted(meet(server, authority.make("address", {"10.1.2.3", ""}), "10.1.2.3"));
}

TEST_CASE("a name that is not the expected one is refused, on both sides") {
  const TestDir dir;
  TestAuthority authority(dir, "one");
  const TlsOptions server = authority.make("server", {"server", "DNS:server.test"}), client = authority.make("client", {"client", ""});
  refused(meet(server, client, "", "other.test"), "refuses our certificate", "not for other.test (--address) but for server, server.test; ");
  refused(meet(server, client, "", "127.0.0.1"), "refuses our certificate", "--tls-no-cn-verify");
  refused(meet(server, client, "elsewhere"), "not for elsewhere (--address) but for client", "refuses our certificate");
}

TEST_CASE("a server serves only whom it allows") {
  const TestDir dir;
  TestAuthority authority(dir, "one");
  TlsOptions server = authority.make("server", {"server", ""});
  const TlsOptions client = authority.make("client", {"client", "DNS:node7.test"}), other = authority.make("other", {"other", ""});
  server.allow = {"somebody", "NODE7.test"};
  accepted(meet(server, client));
  const Outcome o = meet(server, other);
  refused(o, "the client (other) is in no --allow", "--allow");
  CHECK(o.server.failure->code == EACCES);
}

TEST_CASE("authorities that are not trusted are refused, on both sides") {
  const TestDir dir;
  TestAuthority one(dir, "one"), two(dir, "two");
  TlsOptions server = one.make("server", {"server", ""}), client = two.make("client", {"client", ""});
  refused(meet(server, client), "refuses our certificate", "the certificate of \"server\" is not of an authority trusted here");
  client.cacert = one.path("ca");
  refused(meet(server, client), "the certificate of \"client\" is not of an authority trusted here", "it does not trust the authority");
}

TEST_CASE("a client without a certificate is refused") {
  signal(SIGPIPE, SIG_IGN);
  const TestDir dir;
  TestAuthority authority(dir, "one");
  const auto server = TlsContext::make(authority.make("server", {"server", ""})).value();
  Pair sockets = socket_pair();
  Side side;
  side.stream = tls_stream(std::move(sockets.server), server, TlsRole::kServer, "").value();
  // A client of another make, which trusts anybody and shows nothing.
  const std::unique_ptr<SSL_CTX, FreeBy<SSL_CTX_free>> context(SSL_CTX_new(TLS_client_method()));
  const std::unique_ptr<SSL, FreeBy<SSL_free>> client(SSL_new(context.get()));
  REQUIRE(::fcntl(sockets.client.get(), F_SETFL, O_NONBLOCK) == 0);
  SSL_set_fd(client.get(), sockets.client.get());
  while (!side.failure) {
    SSL_connect(client.get());
    side.step();
  }
  CHECK(contains(side.failure->what, "the client shows no certificate"));
}

TEST_CASE("certificates out of their time are refused, on both sides") {
  const TestDir dir;
  TestAuthority authority(dir, "one");
  const TlsOptions good = authority.make("good", {"good", ""}), old = authority.make("old", {"old", "", -7200, -3600});
  const TlsOptions early = authority.make("early", {"early", "", 3600, 7200});
  refused(meet(good, old), "the certificate of \"old\" expired at ", "it has expired");
  refused(meet(old, good), "it has expired", "the certificate of \"old\" expired at ");
  refused(meet(good, early), "\"early\" is valid only from", "refuses our certificate");
}

TEST_CASE("a revoked certificate is refused, on both sides") {
  const TestDir dir;
  TestAuthority authority(dir, "one"), stranger(dir, "two");
  TlsOptions good = authority.make("good", {"good", ""});
  const TlsOptions bad = authority.make("bad", {"bad", ""});
  good.cacrl = authority.make_list("revoked", true);
  refused(meet(good, bad), "the certificate of \"bad\" is revoked", "it is revoked");
  refused(meet(bad, good), "it is revoked", "the certificate of \"bad\" is revoked");
  good.cacrl = authority.make_list("nobody", false);
  accepted(meet(good, bad));
  good.cacrl = stranger.make_list("foreign", false);
  refused(meet(good, bad), "--tls-cacrl is not one of the authority of the certificate of \"bad\"", "refuses our certificate");
}

TEST_CASE("files that do not do are told before anything is connected") {
  const TestDir dir;
  TestAuthority authority(dir, "one");
  const TlsOptions good = authority.make("good", {"good", ""}), other = authority.make("other", {"other", ""});
  const std::string garbage = dir / "garbage", absent = dir / "absent";
  std::ofstream(garbage) << "-----BEGIN NOTHING-----\n";
  const auto with = [&](std::string TlsOptions::*member, const std::string& path) {
    TlsOptions o = good;
    o.*member = path;
    return failure_of(o);
  };
  const std::pair<std::string TlsOptions::*, const char*> files[] = {
      {&TlsOptions::cacert, "--tls-cacert"}, {&TlsOptions::cacrl, "--tls-cacrl"}, {&TlsOptions::cert, "--tls-cert"}, {&TlsOptions::key, "--tls-key"}};
  for (const auto& [member, option] : files) {
    INFO(option);
    CHECK(contains(with(member, absent), "No such file"));
    for (const auto& path : {absent, garbage}) {
      CHECK(contains(with(member, path), option));
      CHECK(contains(with(member, path), path));
    }
  }
  CHECK(contains(with(&TlsOptions::key, other.key), "does not belong to the certificate"));
  const std::string locked = dir / "locked";
  BIO* key_file = BIO_new_file(good.key.c_str(), "r");
  const TestKey key(PEM_read_bio_PrivateKey(key_file, nullptr, nullptr, nullptr));
  BIO_free(key_file);
  FILE* f = fopen(locked.c_str(), "w");
  char phrase[] = "secret";
  PEM_write_PrivateKey(f, key.get(), EVP_aes_128_cbc(), nullptr, 0, [](char* to, int, int, void* p) { return static_cast<int>(strlen(strcpy(to, static_cast<char*>(p)))); }, phrase);
  fclose(f);
  CHECK(contains(with(&TlsOptions::key, locked), "is encrypted"));
  // With nothing given, CRIU's places are looked into.
  CHECK(contains(failure_of({}), "--tls-"));
}

TEST_CASE("much goes in both directions at once, however small the buffers") {
  signal(SIGPIPE, SIG_IGN);
  const TestDir dir;
  TestAuthority authority(dir, "one");
  const auto context = TlsContext::make(authority.make("both", {"both", ""})).value();
  const std::string there = random_text(2'000'001), back = random_text(1'000'000);
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    SSL_CTX_set_max_proto_version(context.get(), version);
    for (const bool tcp : {false, true})
      for (const size_t piece : {size_t{1000}, size_t{1} << 20}) {
        Pair sockets = tcp ? tcp_pair(4096) : socket_pair(4096);
        Side server, client;
        server.stream = tls_stream(std::move(sockets.server), context, TlsRole::kServer, "").value();
        client.stream = tls_stream(std::move(sockets.client), context, TlsRole::kClient, "").value();
        server.to_send = there, client.to_send = back;
        server.to_hear = back.size(), client.to_hear = there.size();
        server.piece = client.piece = piece;
        converse(server, client);
        CHECK((!server.failure && !client.failure));
        CHECK((client.heard == there && server.heard == back));
      }
  }
}

TEST_CASE("the end is told from a cut") {
  signal(SIGPIPE, SIG_IGN);
  const TestDir dir;
  TestAuthority authority(dir, "one");
  const auto context = TlsContext::make(authority.make("both", {"both", ""})).value();
  for (const bool orderly : {true, false}) {
    Pair sockets = socket_pair();
    const UniqueFd cable(::dup(sockets.client.get()));
    Side server, client;
    server.stream = tls_stream(std::move(sockets.server), context, TlsRole::kServer, "").value();
    client.stream = tls_stream(std::move(sockets.client), context, TlsRole::kClient, "").value();
    client.to_send = "last words", server.to_send = "hello", server.to_hear = 10;
    converse(server, client);
    if (orderly) client.stream->shutdown();
    else ::shutdown(cable.get(), SHUT_RDWR);
    server.to_hear = 11;
    converse(server, client);
    REQUIRE(server.failure);
    INFO(server.failure->what);
    CHECK(server.failure->code == (orderly ? ENODATA : ECONNRESET));
    CHECK(contains(server.failure->what, orderly ? "closed" : "was cut"));
    CHECK(server.heard == "last words");
  }
}

TEST_CASE("a side that does not speak TLS is told as such") {
  signal(SIGPIPE, SIG_IGN);
  const TestDir dir;
  TestAuthority authority(dir, "one");
  const auto context = TlsContext::make(authority.make("both", {"both", ""})).value();
  Pair sockets = socket_pair();
  Side server, plain;
  server.stream = tls_stream(std::move(sockets.server), context, TlsRole::kServer, "").value();
  plain.stream = plain_stream(std::move(sockets.client)).value();
  plain.to_send = std::string(32, '\5');
  converse(server, plain);
  REQUIRE(server.failure);
  CHECK(contains(server.failure->what, "give --tls on both sides"));
}

TEST_CASE("versions before 1.2 are refused") {
  signal(SIGPIPE, SIG_IGN);
  const TestDir dir;
  TestAuthority authority(dir, "one");
  const TlsOptions options = authority.make("both", {"both", ""});
  const auto now = TlsContext::make(options).value(), old = TlsContext::make(options).value();
  SSL_CTX_set_min_proto_version(old.get(), TLS1_VERSION);
  SSL_CTX_set_max_proto_version(old.get(), TLS1_1_VERSION);
  SSL_CTX_set_security_level(old.get(), 0);
  SSL_CTX_set_cipher_list(old.get(), "ALL:@SECLEVEL=0");
  Pair sockets = socket_pair();
  Side server, client;
  server.stream = tls_stream(std::move(sockets.server), now, TlsRole::kServer, "").value();
  client.stream = tls_stream(std::move(sockets.client), old, TlsRole::kClient, "").value();
  server.to_send = client.to_send = "x";
  converse(server, client);
  REQUIRE(server.failure);
  CHECK(contains(server.failure->what, "older TLS than 1.2"));
}

namespace {

// A wire that keeps what goes from the client to the server.
struct Tap {
  UniqueFd from_client, to_server;
  std::string seen;

  void pump() {
    char buffer[16384];  // less than the server reads at a time, so that it never waits
    ssize_t n;
    if ((n = ::recv(from_client.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
      seen.append(buffer, static_cast<size_t>(n));
      REQUIRE(::send(to_server.get(), buffer, static_cast<size_t>(n), 0) == n);
    }
    if ((n = ::recv(to_server.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0) REQUIRE(::send(from_client.get(), buffer, static_cast<size_t>(n), 0) == n);
  }

  // The lengths of what is in the records: those on the wire are longer by what encryption adds.
  std::vector<size_t> records(size_t overhead) const {
    std::vector<size_t> lengths;
    for (size_t at = 0; at < seen.size();) {
      const auto byte = [&](size_t i) { return static_cast<unsigned char>(seen.at(at + i)); };
      REQUIRE(byte(0) == 23);  // application data
      const size_t length = byte(3) * 256u + byte(4);
      lengths.push_back(length - overhead);
      at += 5 + length;
    }
    return lengths;
  }
};

}  // namespace

TEST_CASE("records end where iovecs end, and cross no multiple of 64 KiB of the pages") {
  signal(SIGPIPE, SIG_IGN);
  const TestDir dir;
  TestAuthority authority(dir, "one");
  const auto context = TlsContext::make(authority.make("both", {"both", ""})).value();
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    SSL_CTX_set_max_proto_version(context.get(), version);
    Pair near = socket_pair(), far = socket_pair();
    Side server, client;
    server.stream = tls_stream(std::move(far.server), context, TlsRole::kServer, "").value();
    client.stream = tls_stream(std::move(near.client), context, TlsRole::kClient, "").value();
    Tap tap{std::move(near.server), std::move(far.client), ""};
    server.to_send = "s", client.to_send = "c";
    while (!server.done() || !client.done()) {
      client.step(), server.step();
      tap.pump();
    }
    // What CRIU sends: a header, then 45 pages; again and again, so that the socket's buffer fills and records are sent in parts.
    const std::string header(32, 'h'), pages = random_text(45 * 4096);
    std::vector<size_t> expected;
    std::string all;
    tap.seen.clear();
    server.heard.clear();
    for (int round = 0; round < 40; ++round) {
      all += header + pages;
      expected.push_back(32);
      for (size_t at = 0; at < pages.size(); at += 16384) expected.push_back(std::min<size_t>(16384, pages.size() - at));
      size_t sent = 0;
      while (sent < header.size() + pages.size()) {
        const size_t of_header = std::min(sent, header.size()), of_pages = sent - of_header;
        const iovec parts[] = {{const_cast<char*>(header.data()) + of_header, header.size() - of_header},
                               {const_cast<char*>(pages.data()) + of_pages, pages.size() - of_pages}};
        const auto n = client.stream->write(parts);
        REQUIRE(n);
        sent += *n;
        if (*n == 0) {
          tap.pump();
          server.step();
        }
      }
    }
    while (server.heard.size() < all.size()) {
      tap.pump();
      server.step();
      REQUIRE(!server.failure);
    }
    CHECK(server.heard == all);
    // AES-GCM: a tag of 16 bytes, and 8 of the nonce in TLS 1.2, the record's kind in TLS 1.3.
    CHECK(tap.records(version == TLS1_2_VERSION ? 24 : 17) == expected);
  }
}

TEST_CASE("a record that is half sent is not replaced by another") {
  signal(SIGPIPE, SIG_IGN);
  const TestDir dir;
  TestAuthority authority(dir, "one");
  const auto context = TlsContext::make(authority.make("both", {"both", ""})).value();
  Pair sockets = socket_pair(4096);
  Side server, client;
  server.stream = tls_stream(std::move(sockets.server), context, TlsRole::kServer, "").value();
  client.stream = tls_stream(std::move(sockets.client), context, TlsRole::kClient, "").value();
  server.to_send = "s", client.to_send = "c";
  converse(server, client);
  std::string text = random_text(16384);
  iovec part = {text.data(), text.size()};
  Result<size_t> n = client.stream->write({&part, 1});
  while (n && *n > 0) n = client.stream->write({&part, 1});
  REQUIRE(n);
  iovec shorter = {text.data(), 100};
  CHECK(client.stream->write({&shorter, 1}).error().code == EINVAL);
  text[7] ^= 1;
  CHECK(client.stream->write({&part, 1}).error().code == EINVAL);
  text[7] ^= 1;
  server.step();
  CHECK(client.stream->write({&part, 1}));
}
