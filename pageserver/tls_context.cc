#include <openssl/err.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include "core/base/log.h"
#include "pageserver/tls.h"
#include "pageserver/tls_certificate.h"

#ifdef FAULTLINE_STATIC_TLS
// A static libcrypto asks the processor for its features before main(). That touches pages and, in a virtual machine, traps; it made each
// start of the program 30 us slower (of 600). So the linker leads that call here (--wrap, in meson.build), and it waits until there is a use.
// The library asks again when it is initialised.
static bool tls_wanted = false;
extern "C" void __real_OPENSSL_cpuid_setup();
extern "C" void __wrap_OPENSSL_cpuid_setup();
void __wrap_OPENSSL_cpuid_setup() {
  if (tls_wanted) __real_OPENSSL_cpuid_setup();
}
#endif

namespace faultline::pageserver {

namespace {

constexpr const char* kCaCert = "/etc/pki/CA/cacert.pem";
constexpr const char* kCaCrl = "/etc/pki/CA/cacrl.pem";
constexpr const char* kCert = "/etc/pki/criu/cert.pem";
constexpr const char* kKey = "/etc/pki/criu/private/key.pem";
// AES first, as every processor this runs on has instructions for it, and the shorter key first: it is a quarter faster.
constexpr const char* kSuites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
// Several records per read(2): each costs two without it.
constexpr size_t kReadBuffer = 128 << 10;

bool readable(const std::string& path) { return ::access(path.c_str(), R_OK) == 0; }

Result<void> check_readable(const char* what, const std::string& path, const char* option) {
  if (readable(path)) return {};
  return sys_error("cannot read the {} {} (give another with {} FILE)", what, path, option);
}

Failure no_good(const char* what, const std::string& path, const char* option) {
  return error(EINVAL, "the {} {} cannot be used: {}; give a PEM file with {}", what, path, library_error(), option);
}

// There is nobody at a terminal to ask.
int no_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

Result<void> load_authorities(SSL_CTX* context, const TlsOptions& o) {
  const std::string path = o.cacert.empty() ? kCaCert : o.cacert;
  if (o.cacert.empty()) {
    SSL_CTX_set_default_verify_paths(context);
    if (!readable(path)) return {};
  }
  TRY(check_readable("certificate authority", path, "--tls-cacert"));
  if (SSL_CTX_load_verify_file(context, path.c_str()) != 1) return no_good("certificate authority", path, "--tls-cacert");
  return {};
}

Result<void> load_revoked(SSL_CTX* context, const TlsOptions& o) {
  const std::string path = o.cacrl.empty() ? kCaCrl : o.cacrl;
  if (o.cacrl.empty() && !readable(path)) return {};
  TRY(check_readable("revocation list", path, "--tls-cacrl"));
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  X509_LOOKUP* lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
  if (!lookup || X509_load_crl_file(lookup, path.c_str(), X509_FILETYPE_PEM) <= 0) return no_good("revocation list", path, "--tls-cacrl");
  X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  return {};
}

// A peer would refuse it, with less to say about it.
void warn_if_expired(SSL_CTX* context, const std::string& path) {
  X509* own = SSL_CTX_get0_certificate(context);
  if (own && X509_cmp_current_time(X509_get0_notAfter(own)) < 0)
    LOG_WARNING("the own certificate {} has expired: the other side will refuse it; issue a new one", path);
}

Result<void> load_own(SSL_CTX* context, const TlsOptions& o) {
  const std::string cert = o.cert.empty() ? kCert : o.cert, key = o.key.empty() ? kKey : o.key;
  TRY(check_readable("own certificate", cert, "--tls-cert"));
  TRY(check_readable("own key", key, "--tls-key"));
  if (SSL_CTX_use_certificate_chain_file(context, cert.c_str()) != 1) return no_good("own certificate", cert, "--tls-cert");
  bool asked = false;
  SSL_CTX_set_default_passwd_cb(context, no_passphrase);
  SSL_CTX_set_default_passwd_cb_userdata(context, &asked);
  const int loaded = SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM);
  SSL_CTX_set_default_passwd_cb_userdata(context, nullptr);
  SSL_CTX_set_default_passwd_cb(context, nullptr);
  if (asked) return error(EINVAL, "the own key {} is encrypted, and nobody can be asked for the pass phrase; decrypt it: openssl pkey -in FILE -out FILE", key);
  // The key is compared with the certificate while it is loaded, too.
  if (loaded != 1 && ERR_GET_REASON(ERR_peek_error()) != X509_R_KEY_VALUES_MISMATCH) return no_good("own key", key, "--tls-key");
  if (loaded != 1 || SSL_CTX_check_private_key(context) != 1) {
    ERR_clear_error();
    return error(EINVAL, "the own key {} does not belong to the certificate {}; give a pair with --tls-cert and --tls-key", key, cert);
  }
  warn_if_expired(context, cert);
  return {};
}

Result<void> configure(SSL_CTX* context) {
  uint64_t options = SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION;
#ifdef SSL_OP_ENABLE_KTLS
  // The kernel encrypts where it can, so that io_uring may send pages. Untested: the kernels this was made on have no "tls" protocol.
  options |= SSL_OP_ENABLE_KTLS;
#endif
  SSL_CTX_set_options(context, options);
  SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_default_read_buffer_len(context, kReadBuffer);
  // Nobody resumes a session: the tickets would only stand in the way of the first page.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 || SSL_CTX_set_ciphersuites(context, kSuites) != 1)
    return error(EINVAL, "the TLS library refuses its settings: {}", library_error());
  return {};
}

}  // namespace

void TlsContext::Free::operator()(SSL_CTX* context) const { SSL_CTX_free(context); }

Result<TlsContext> TlsContext::make(const TlsOptions& options) {
#ifdef FAULTLINE_STATIC_TLS
  tls_wanted = true;
#endif
  // No configuration file: what it names would be loaded at run time, which a static program cannot. No work at exit either.
  if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, nullptr) != 1)
    return error(ENOTSUP, "the TLS library does not start: {}", library_error());
  ERR_clear_error();
  TlsContext made;
  made.context_.reset(SSL_CTX_new(TLS_method()));
  if (!made.context_) return error(ENOMEM, "the TLS library cannot make a context: {}", library_error());
  TRY(configure(made.get()));
  TRY(load_authorities(made.get(), options));
  TRY(load_revoked(made.get(), options));
  TRY(load_own(made.get(), options));
  made.allow_ = options.allow;
  return made;
}

}  // namespace faultline::pageserver
