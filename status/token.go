package status

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
)

// Token is the word that a client must know to be answered, kept in a file. It
// is safe for concurrent use. Of the token itself nothing stays in memory but
// its hash.
type Token struct {
	path    string
	current atomic.Pointer[[sha256.Size]byte]
}

// maxTokenBytes bounds the file, far below what a request's header may hold.
const maxTokenBytes = 4096

// LoadToken reads the file at path, which holds the token and perhaps blanks
// and line breaks around it. A token is made of what may stand in a header (RFC
// 6750, section 2.1): letters, digits and -._~+/, with = at its end. No error
// shows any of it.
func LoadToken(path string) (*Token, error) {
	t := &Token{path: path}
	if err := t.Reload(); err != nil {
		return nil, err
	}
	return t, nil
}

// Reload reads the file anew. After an error the token is what it was before.
func (t *Token) Reload() error {
	text, err := readToken(t.path)
	if err != nil {
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathErr.Err // the path is told anyway
		}
		return fmt.Errorf("--status-token-file %s: %w", t.path, err)
	}
	hash := sha256.Sum256([]byte(text))
	t.current.Store(&hash)
	return nil
}

func readToken(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxTokenBytes+1))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(data))
	switch {
	case len(data) > maxTokenBytes:
		return "", fmt.Errorf("larger than %d bytes; a token is one word", maxTokenBytes)
	case text == "":
		return "", errors.New("no token in it")
	case !isToken(text):
		return "", errors.New("not a token: one word of letters, digits and -._~+/ with = at its end alone; openssl rand -hex 32 makes one")
	}
	return text, nil
}

// isToken tells whether text is a b64token of RFC 6750, section 2.1.
func isToken(text string) bool {
	body := strings.TrimRight(text, "=")
	return body != "" && !strings.ContainsFunc(body, func(r rune) bool {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return false
		}
		return !strings.ContainsRune("-._~+/", r)
	})
}

// is tells whether text is the token. How long it takes tells nothing of the
// token, not even its length: hashes are compared, and those to the end.
func (t *Token) is(text string) bool {
	given := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(given[:], t.current.Load()[:]) == 1
}

// required has h answer those alone who know the token. The others get 401 (RFC
// 6750, section 3), whether what they asked for exists or not; but /livez and
// /readyz tell nothing worth hiding, and those who ask them have no secrets. The page
// at / tells nothing at all: a browser brings no token before there is one to ask for it.
func (t *Token) required(h http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isOpen(r.URL.Path) {
			h.ServeHTTP(w, r)
			return
		}
		text, given := bearer(r.Header)
		switch {
		case !given:
			w.Header().Set("WWW-Authenticate", `Bearer realm="sallyport"`)
			writeText(w, http.StatusUnauthorized, "a token is needed: Authorization: Bearer TOKEN")
		case !t.is(text):
			log.Warn("status port: wrong token", "remote", r.RemoteAddr, "reason", "wrong_token")
			w.Header().Set("WWW-Authenticate", `Bearer realm="sallyport", error="invalid_token"`)
			writeText(w, http.StatusUnauthorized, "wrong token")
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// isOpen tells whether a path is for everybody.
func isOpen(path string) bool { return path == "/livez" || path == "/readyz" || path == "/" }

// bearer returns the token of a request. One that names several credentials
// names none: which of them counts is nothing to be guessed.
func bearer(header http.Header) (token string, ok bool) {
	credentials := header.Values("Authorization")
	if len(credentials) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(credentials[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimLeft(token, " "), true
}
