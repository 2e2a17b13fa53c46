// Hello is the service of the compose example: it greets over plain HTTP, on
// the loopback address alone, so that only what shares its network can reach
// it.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	server := &http.Server{
		Addr:         "127.0.0.1:8080",
		Handler:      http.HandlerFunc(greet),
		ReadTimeout:  10 * time.Second,
		WriteTimeout: 10 * time.Second,
	}
	fmt.Fprintln(os.Stderr, "hello:", server.ListenAndServe())
	os.Exit(1)
}

func greet(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "Hello from behind the tunnel.\n") // whoever asked may be gone
}
