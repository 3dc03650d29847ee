package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/crypto/ssh"
)

// hostSigner is the host key as the library uses it: once for each key
// exchange. Nothing else shows when the connection is rekeyed, so it logs that.
type hostSigner struct {
	ssh.MultiAlgorithmSigner
	log *slog.Logger
	// sha1 makes it sign with ssh-rsa, whatever algorithm was negotiated.
	sha1 bool
}

func (s *hostSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	s.log.Info("key-exchange", "signature", algorithm)
	if s.sha1 {
		algorithm = ssh.KeyAlgoRSA
	}
	return s.MultiAlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
}

// loadHostSigner reads a host key and, unless certPath is empty, its
// certificate. algorithms limits what is offered for an RSA key; nil means all
// that the library has, as the real relay does.
func loadHostSigner(log *slog.Logger, keyPath, certPath string, algorithms []string, sha1 bool) (*hostSigner, error) {
	pem, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyPath, err)
	}
	if algorithms == nil {
		algorithms = []string{key.PublicKey().Type()}
		if key.PublicKey().Type() == ssh.KeyAlgoRSA {
			algorithms = []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSA}
		}
	}
	signer, err := ssh.NewSignerWithAlgorithms(key.(ssh.AlgorithmSigner), algorithms)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyPath, err)
	}
	if certPath != "" {
		public, err := loadPublicKey(certPath)
		if err != nil {
			return nil, err
		}
		cert, ok := public.(*ssh.Certificate)
		if !ok {
			return nil, fmt.Errorf("%s: not a certificate", certPath)
		}
		certSigner, err := ssh.NewCertSigner(cert, signer)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", certPath, err)
		}
		signer = certSigner.(ssh.MultiAlgorithmSigner)
	}
	return &hostSigner{MultiAlgorithmSigner: signer, log: log, sha1: sha1}, nil
}

// loadPublicKey reads a public key or a certificate in authorized_keys format.
func loadPublicKey(path string) (ssh.PublicKey, error) {
	line, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}
