package certloader

import "github.com/caddyserver/certmagic"

// ACMEStorage is the directory that [ACME] keeps what it has in where
// ACMEOptions.Storage says nothing else. It is "" if that is none.
func ACMEStorage() string {
	if files, ok := certmagic.Default.Storage.(*certmagic.FileStorage); ok {
		return files.Path
	}
	return ""
}
