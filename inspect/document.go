package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// report is the document at /_status.
type report struct {
	health

	Time              time.Time `json:"time"`
	Started           time.Time `json:"started"`
	Hostname          string    `json:"hostname"`
	Version           string    `json:"version"`
	Revision          string    `json:"revision"`
	Compiler          string    `json:"compiler"`
	LastReload        time.Time `json:"last_reload"`
	LastReloadSuccess time.Time `json:"last_reload_success"`
	LastReloadError   string    `json:"last_reload_error"`
	Draining          *struct {
		Open     int64     `json:"open"`
		Deadline time.Time `json:"deadline"`
	} `json:"draining"`
	Tunnels []struct {
		Name  string `json:"name"`
		Error string `json:"error"`
		health
	} `json:"tunnels"`
}

// health is what it says of the whole, and of each tunnel.
type health struct {
	OK             bool   `json:"ok"`
	Status         string `json:"status"`
	Message        string `json:"message"`
	Mode           string `json:"mode"`
	ListenAddress  string `json:"listen_address"`
	ForwardAddress string `json:"forward_address"`
	BackendOK      bool   `json:"backend_ok"`
	BackendStatus  string `json:"backend_status"`
	BackendError   string `json:"backend_error"`
	Routes         []struct {
		Name           string   `json:"name"`
		ServerNames    []string `json:"server_names"`
		ForwardAddress string   `json:"forward_address"`
		Connections    struct {
			Open  int64 `json:"open"`
			Total int64 `json:"total"`
		} `json:"connections"`
	} `json:"routes"`
	Targets []struct {
		Route         string `json:"route"`
		Target        string `json:"target"`
		Weight        int    `json:"weight"`
		BackendOK     bool   `json:"backend_ok"`
		BackendStatus string `json:"backend_status"`
		BackendError  string `json:"backend_error"`
		Ejected       bool   `json:"ejected"`
		Connections   struct {
			Open  int64 `json:"open"`
			Total int64 `json:"total"`
		} `json:"connections"`
	} `json:"targets"`
	Connections *struct {
		Open  int64 `json:"open"`
		Total int64 `json:"total"`
	} `json:"connections"`
	Certificates []struct {
		Role     string    `json:"role"`
		Route    string    `json:"route"`
		Subject  string    `json:"subject"`
		Serial   string    `json:"serial"`
		NotAfter time.Time `json:"not_after"`
	} `json:"certificates"`
}

// page is a document at /_connections.
type page struct {
	Total       int          `json:"total"`
	Connections []connection `json:"connections"`
	Next        string       `json:"next"`
}

// connection is an open connection.
type connection struct {
	ID       string    `json:"id"`
	Tunnel   string    `json:"tunnel"`
	Identity string    `json:"identity"`
	Remote   string    `json:"remote"`
	Target   string    `json:"target"`
	Since    time.Time `json:"since"`
	In       int64     `json:"bytes_in"`
	Out      int64     `json:"bytes_out"`
	TLS      string    `json:"tls_version"`
}

// maxPages bounds what a process can have a look gather, at 1000 connections each.
const maxPages = 200

// connections gathers the pages of open connections.
func (c *Client) connections(ctx context.Context, seen *sight) error {
	for after := ""; len(seen.pages) < maxPages; {
		path := "/_connections?limit=1000"
		if c.options.Tunnel != "" {
			path += "&tunnel=" + url.QueryEscape(c.options.Tunnel)
		}
		if after != "" {
			path += "&after=" + url.QueryEscape(after)
		}
		var p page
		raw, err := c.document(ctx, path, &p, http.StatusOK)
		if err != nil {
			return err
		}
		seen.raw, seen.pages = append(seen.raw, raw), append(seen.pages, p)
		if p.Next == "" || p.Next == after {
			break
		}
		after = p.Next
	}
	return nil
}

// document asks for a JSON document, which may come with one of some codes, and
// decodes it into v. It also returns it as it came.
func (c *Client) document(ctx context.Context, path string, v any, codes ...int) ([]byte, error) {
	body, err := c.get(ctx, path, codes...)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return nil, c.unreachable(path, fmt.Errorf("not what a status port answers: %w", err))
	}
	return body, nil
}
