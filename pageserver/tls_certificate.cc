#include "pageserver/tls_certificate.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <memory>

namespace faultline::pageserver {

namespace {

std::string text_of(const ASN1_STRING* text) {
  unsigned char* utf8 = nullptr;
  const int length = ASN1_STRING_to_UTF8(&utf8, text);
  if (length < 0) return "";
  std::string out(reinterpret_cast<char*>(utf8), static_cast<size_t>(length));
  OPENSSL_free(utf8);
  return out;
}

std::string address_text(const ASN1_OCTET_STRING* address) {
  char text[INET6_ADDRSTRLEN] = "";
  const int family = ASN1_STRING_length(address) == 4 ? AF_INET : AF_INET6;
  if (family == AF_INET6 && ASN1_STRING_length(address) != 16) return "";
  inet_ntop(family, ASN1_STRING_get0_data(address), text, sizeof text);
  return text;
}

std::string common_name(X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  return at < 0 ? "" : text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

std::string issuer_text(X509* certificate) {
  char text[256] = "";
  X509_NAME_oneline(X509_get_issuer_name(certificate), text, sizeof text);
  return text;
}

std::string time_text(const ASN1_TIME* when) {
  tm t = {};
  if (!ASN1_TIME_to_tm(when, &t)) return "an unreadable time";
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02} UTC", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min);
}

std::string whose(X509* certificate) {
  if (!certificate) return "the other side's certificate";
  const std::string name = common_name(certificate);
  return name.empty() ? "the other side's certificate" : fmt::format("the certificate of \"{}\"", name);
}

}  // namespace

std::vector<std::string> names_of(X509* certificate) {
  std::vector<std::string> names;
  if (std::string cn = common_name(certificate); !cn.empty()) names.push_back(std::move(cn));
  const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> alternatives(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)), GENERAL_NAMES_free);
  for (int i = 0; alternatives && i < sk_GENERAL_NAME_num(alternatives.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(alternatives.get(), i);
    if (name->type == GEN_DNS) names.push_back(text_of(name->d.dNSName));
    if (name->type == GEN_IPADD) names.push_back(address_text(name->d.iPAddress));
  }
  return names;
}

bool is_for(X509* certificate, const std::string& name) {
  return X509_check_ip_asc(certificate, name.c_str(), 0) == 1 || X509_check_host(certificate, name.data(), name.size(), 0, nullptr) == 1;
}

std::string list_of(const std::vector<std::string>& names) {
  return names.empty() ? "no name" : fmt::format("{}", fmt::join(names, ", "));
}

std::string refusal(int code, X509* certificate, X509* own) {
  const std::string who = whose(certificate);
  switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return fmt::format("{} expired at {}; issue a new one, or set the clock right", who, certificate ? time_text(X509_get0_notAfter(certificate)) : "?");
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return fmt::format("{} is valid only from {} on; set the clock right", who, certificate ? time_text(X509_get0_notBefore(certificate)) : "?");
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return fmt::format("{} is not of an authority trusted here (its issuer is {}); give the certificate of that authority with --tls-cacert FILE", whose(own),
                         certificate ? issuer_text(certificate) : "unknown");
    case X509_V_ERR_CERT_REVOKED: return fmt::format("{} is revoked by the list of --tls-cacrl", who);
    case X509_V_ERR_UNABLE_TO_GET_CRL:
      return fmt::format("the list of --tls-cacrl is not one of the authority of {} ({}); add that authority's list to the file", who,
                         certificate ? issuer_text(certificate) : "unknown");
    case X509_V_ERR_CRL_HAS_EXPIRED: return "the revocation list of --tls-cacrl is out of date; get a newer one from the authority";
    case X509_V_ERR_CRL_NOT_YET_VALID: return "the revocation list of --tls-cacrl is of the future; set the clock right";
    case X509_V_ERR_INVALID_PURPOSE:
      return fmt::format("{} may not be used for this side of a connection; issue one for both server and client authentication", who);
    default: return fmt::format("{} is refused: {}", who, X509_verify_cert_error_string(code));
  }
}

std::string library_error() {
  const unsigned long first = ERR_get_error();
  ERR_clear_error();
  if (first == 0) return "no reason given";
  const char* reason = ERR_reason_error_string(first);
  return reason ? reason : fmt::format("error {:#x} of the TLS library", first);
}

std::string connection_error() {
  const unsigned long first = ERR_peek_error();
  if (ERR_GET_LIB(first) != ERR_LIB_SSL) return "TLS: " + library_error();
  const int reason = ERR_GET_REASON(first);
  const std::string text = library_error();
  switch (reason) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return "the client shows no certificate; give it --tls-cert and --tls-key";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED: return "the server demands a certificate; give one with --tls-cert and --tls-key";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA: return "the other side refuses our certificate: it does not trust the authority that issued it";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED: return "the other side refuses our certificate: it has expired; issue a new one";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED: return "the other side refuses our certificate: it is revoked";
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
      return fmt::format("the other side refuses our certificate, for example because our name is not the expected one, or in none of its --allow; its log tells more ({})", text);
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_UNEXPECTED_MESSAGE: return fmt::format("the other side does not speak TLS; give --tls on both sides or on none ({})", text);
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION: return "the other side speaks an older TLS than 1.2; bring it up to date";
    default: return "TLS: " + text;
  }
}

}  // namespace faultline::pageserver
