"""Certificates for tests, made by openssl(1)."""
import os
import subprocess


def openssl(*words):
    subprocess.run(['openssl', *words], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Authority:
    """Issues certificates for the test; its files are in `folder`."""

    def __init__(self, folder, name):
        os.mkdir(folder)
        self.folder = folder
        self.key, self.cert = self.file(name + '.key'), self.file(name + '.pem')
        openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', f'/CN={name}', '-keyout', self.key, '-out', self.cert)

    def file(self, name):
        return os.path.join(self.folder, name)

    def issue(self, name, address=None):
        """The options that use a fresh certificate, of a host of this name, and of this address if one is given."""
        key, request, cert, names = (self.file(f'{name}.{suffix}') for suffix in ('key', 'csr', 'pem', 'ext'))
        with open(names, 'w', encoding='ascii') as f:
            f.write(f'subjectAltName=DNS:{name}' + (f',IP:{address}' if address else '') + '\n')
        openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', f'/CN={name}', '-keyout', key, '-out', request)
        openssl('x509', '-req', '-in', request, '-CA', self.cert, '-CAkey', self.key, '-CAcreateserial', '-days', '2', '-extfile', names, '-out', cert)
        return ['--tls', '--tls-cacert', self.cert, '--tls-cert', cert, '--tls-key', key]
