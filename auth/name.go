package auth

import (
	"crypto/x509"
	"net/netip"
	"slices"
)

// CommonName lets in peers whose subject has exactly this common name. An empty
// name matches nobody; so it is with all of these.
func CommonName(name string) Authorizer {
	return match(func(cert *x509.Certificate) bool {
		return name != "" && cert.Subject.CommonName == name
	})
}

// OrganizationalUnit lets in peers that have exactly this unit among those of
// their subject.
func OrganizationalUnit(unit string) Authorizer {
	return match(func(cert *x509.Certificate) bool {
		return unit != "" && slices.Contains(cert.Subject.OrganizationalUnit, unit)
	})
}

// DNSName lets in peers that have exactly this DNS name among their SANs. A
// wildcard in the certificate stands for itself alone.
func DNSName(name string) Authorizer {
	return match(func(cert *x509.Certificate) bool {
		return name != "" && slices.Contains(cert.DNSNames, name)
	})
}

// IPAddress lets in peers that have this address among their SANs. An IPv4
// address and the IPv6 address that maps it are the same.
func IPAddress(addr netip.Addr) Authorizer {
	addr = addr.Unmap()
	return match(func(cert *x509.Certificate) bool {
		for _, ip := range cert.IPAddresses {
			if san, ok := netip.AddrFromSlice(ip); ok && san.Unmap() == addr {
				return true
			}
		}
		return false
	})
}

// URI lets in peers that have a URI among their SANs that pattern matches.
func URI(pattern URIPattern) Authorizer {
	return match(func(cert *x509.Certificate) bool {
		for _, uri := range cert.URIs {
			if pattern.Match(uri.String()) {
				return true
			}
		}
		return false
	})
}
