#pragma once

#include <string>
#include <vector>

struct x509_st;

namespace faultline::pageserver {

// What is in a certificate, and what is wrong with it, for tls.cc and tls_context.cc only.

// The common name first, then the DNS names and addresses of the subject's alternative names.
std::vector<std::string> names_of(x509_st* certificate);

// Whether the certificate is one of the host `name`. As GnuTLS does, an address may also stand where names stand.
bool is_for(x509_st* certificate, const std::string& name);

// "names: a, b" for a message; "no name" if there is none.
std::string list_of(const std::vector<std::string>& names);

// Why a certificate was refused, with the way out. `code` is one of X509_V_ERR_*; `certificate`: the one of the chain that it is about;
// `own`: the other side's own, at the chain's end. Both may be null.
std::string refusal(int code, x509_st* certificate, x509_st* own);

// The oldest error that the library has noted for this thread, which is its cause; the notes are cleared.
std::string library_error();
// The same for what a connection says: alerts of the other side as sentences.
std::string connection_error();

}  // namespace faultline::pageserver
