package certloader

import (
	"crypto/tls"
	"errors"
)

// RouteConfig returns a config for tls.Server that serves each client by the
// config that find returns for the server name it asks for; the name is empty
// where it asks for none. Each is one of [Source.ServerConfig], and has a
// [ServerOptions.Scope] of its own, so that no session leads from one to another.
//
// Where find returns nil the client is refused by the alert unrecognized_name
// (RFC 6066, 3). Challenged, which may be nil, answers an ACME CA's validations,
// whatever names they are for.
func RouteConfig(find func(serverName string) *tls.Config, challenged *tls.Config) *tls.Config {
	outer := baseConfig(nil, nil, 0)
	unrecognized := unrecognizedConfig()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		config := find(hello.ServerName)
		if challenged != nil && isChallenge(hello) {
			config = challenged
		}
		switch {
		case config == nil:
			return unrecognized, nil
		case config.GetConfigForClient == nil:
			return nil, errors.New("a config that no Source has made")
		}
		return config.GetConfigForClient(hello)
	}
	return outer
}

// unrecognizedConfig refuses everybody. That there is no certificate at all is
// what crypto/tls has the alert for; an error of ours would be internal_error.
func unrecognizedConfig() *tls.Config {
	config := baseConfig(nil, nil, 0)
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
	config.SessionTicketsDisabled = true // which are looked at before there is talk of certificates
	return config
}
