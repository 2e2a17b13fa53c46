package keystore

import (
	"bytes"
	"path/filepath"
	"strings"
)

// format is how a file is written.
type format int

const (
	formatUnknown format = iota
	formatPEM            // blocks of any kind, or text that may have been some
	formatDER            // certificates, or a private key
	formatPKCS7          // certificates in DER
	formatPKCS12         // a keystore
	formatJava           // a keystore, JKS or JCEKS
)

// formatOf returns the format that data unmistakably has or, where it has none,
// the one that the extension of name stands for. Java's tools, for one, write
// JKS and PKCS#12 under either's name.
func formatOf(name string, data []byte) format {
	content := contentFormat(data)
	switch content {
	case formatPEM, formatJava, formatPKCS12:
		return content
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".pem":
		return formatPEM
	case ".der":
		return formatDER
	case ".p7b", ".p7c", ".pkcs7":
		return formatPKCS7
	case ".p12", ".pfx", ".pkcs12":
		return formatPKCS12
	case ".jks", ".jceks":
		return formatJava
	}
	return content
}

// contentFormat tells by its first bytes what data is; it may be cut short.
func contentFormat(data []byte) format {
	switch {
	case bytes.Contains(data, []byte(pemBegin)), isUTF16(data):
		return formatPEM
	case isJavaKeystore(data):
		return formatJava
	case !looksLikeDER(data):
		return formatUnknown
	}
	// What stands first in the outer sequence tells: the type of a ContentInfo
	// (RFC 2315, 7), the version of a PFX, which is 3 (RFC 7292, 4), that of a
	// private key, which is 0 or 1, or another sequence.
	inner := data[2:]
	if data[1] > 0x80 {
		inner = data[min(len(data), 2+int(data[1]&0x7f)):]
	}
	switch {
	case bytes.HasPrefix(inner, []byte{0x06}):
		return formatPKCS7
	case bytes.HasPrefix(inner, []byte{0x02, 1, 3}):
		return formatPKCS12
	}
	return formatDER
}

// looksLikeDER reports whether data begins as an ASN.1 sequence does: with a
// length in the long form, which no text has, or with just that of data.
func looksLikeDER(data []byte) bool {
	if len(data) < 2 || data[0] != 0x30 {
		return false
	}
	return data[1] >= 0x80 && data[1] <= 0x84 || int(data[1]) == len(data)-2
}
