#pragma once

// Certificates for tests, made when the test runs, so that no key is in the repository and none expires.

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "pageserver/tls.h"

namespace faultline::pageserver {

template <auto free_it>
struct FreeBy {
  template <typename T>
  void operator()(T* thing) const {
    free_it(thing);
  }
};
using TestKey = std::unique_ptr<EVP_PKEY, FreeBy<EVP_PKEY_free>>;
using TestCertificate = std::unique_ptr<X509, FreeBy<X509_free>>;
using TestList = std::unique_ptr<X509_CRL, FreeBy<X509_CRL_free>>;

// A directory that goes with the test.
class TestDir {
 public:
  TestDir() { REQUIRE(mkdtemp(path_.data())); }
  ~TestDir() { std::filesystem::remove_all(path_); }
  TestDir(const TestDir&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_ = "/tmp/tls_test.XXXXXX";
};

struct TestSubject {
  std::string name;              // common name
  std::string alternatives;      // "DNS:a,IP:127.0.0.1"; empty: none
  long from = -3600, to = 3600;  // seconds from now
};

// An authority and what it issues, as PEM files in a directory.
class TestAuthority {
 public:
  TestAuthority(const TestDir& dir, const std::string& name) : dir_(dir), name_(name), key_(EVP_EC_gen("P-256")) {
    certificate_ = issue({name, ""}, key_.get(), nullptr);
    write(path("ca"), PEM_write_X509, certificate_.get());
  }

  std::string path(const std::string& what) const { return dir_ / (name_ + "-" + what + ".pem"); }

  // Makes FILE-cert.pem and FILE-key.pem. The options to use them, trusting this authority.
  TlsOptions make(const std::string& file, const TestSubject& subject) {
    const TestKey key(EVP_EC_gen("P-256"));
    issued_.push_back(issue(subject, key.get(), certificate_.get()));
    write(path(file + "-cert"), PEM_write_X509, issued_.back().get());
    FILE* f = fopen(path(file + "-key").c_str(), "w");
    REQUIRE((f && PEM_write_PrivateKey(f, key.get(), nullptr, nullptr, 0, nullptr, nullptr)));
    fclose(f);
    return {.cacert = path("ca"), .cacrl = "", .cert = path(file + "-cert"), .key = path(file + "-key"), .allow = {}};
  }

  // A list that revokes the certificate made last, or (without `revoke`) nobody.
  std::string make_list(const std::string& file, bool revoke) {
    const TestList list(X509_CRL_new());
    X509_CRL_set_version(list.get(), 1);
    X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(certificate_.get()));
    const std::unique_ptr<ASN1_TIME, FreeBy<ASN1_TIME_free>> now(X509_gmtime_adj(nullptr, -60)), later(X509_gmtime_adj(nullptr, 3600));
    X509_CRL_set1_lastUpdate(list.get(), now.get());
    X509_CRL_set1_nextUpdate(list.get(), later.get());
    if (revoke) {
      X509_REVOKED* entry = X509_REVOKED_new();
      X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(issued_.back().get()));
      X509_REVOKED_set_revocationDate(entry, now.get());
      X509_CRL_add0_revoked(list.get(), entry);
    }
    REQUIRE(X509_CRL_sign(list.get(), key_.get(), EVP_sha256()) > 0);
    write(path(file), PEM_write_X509_CRL, list.get());
    return path(file);
  }

 private:
  template <typename Write, typename T>
  static void write(const std::string& path, Write write_pem, T* thing) {
    FILE* f = fopen(path.c_str(), "w");
    REQUIRE((f && write_pem(f, thing)));
    fclose(f);
  }

  static void extend(X509* certificate, int kind, const std::string& value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str());
    REQUIRE(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }

  // Without an issuer it is an authority that signs itself.
  TestCertificate issue(const TestSubject& subject, EVP_PKEY* key, X509* issuer) {
    TestCertificate made(X509_new());
    X509_set_version(made.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(made.get()), subject.from);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), subject.to);
    X509_set_pubkey(made.get(), key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(subject.name.c_str()), -1, -1, 0);
    X509_set_issuer_name(made.get(), X509_get_subject_name(issuer ? issuer : made.get()));
    if (!issuer) extend(made.get(), NID_basic_constraints, "critical,CA:TRUE");
    if (!subject.alternatives.empty()) extend(made.get(), NID_subject_alt_name, subject.alternatives);
    REQUIRE(X509_sign(made.get(), key_.get(), EVP_sha256()) > 0);
    return made;
  }

  const TestDir& dir_;
  const std::string name_;
  long serial_ = 0;
  TestKey key_;
  TestCertificate certificate_;
  std::vector<TestCertificate> issued_;
};

}  // namespace faultline::pageserver
