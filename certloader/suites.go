package certloader

import "crypto/tls"

// aeadSuites is what TLS 1.2 may negotiate: forward secrecy and an AEAD
// (RFC 9325, 4.2). Order means nothing here: crypto/tls has its own, which puts
// ECDSA before RSA and AES-128 before AES-256, and ChaCha20 first where a side
// has no AES in hardware. The suites of TLS 1.3 are all of this kind and cannot
// be chosen.
func aeadSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// baseConfig is what both sides have in common. Nil suites are aeadSuites,
// version 0 is the latest.
func baseConfig(protocols []string, suites []uint16, maxVersion uint16) *tls.Config {
	if suites == nil {
		suites = aeadSuites()
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		MaxVersion:   maxVersion,
		CipherSuites: suites,
		NextProtos:   protocols,
	}
}
