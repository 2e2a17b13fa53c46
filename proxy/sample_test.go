package proxy

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneInSoManyConnectionsIsLogged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sample, connections, logged int }{
		{0, 4, 4}, {1, 4, 4}, {3, 6, 2}, {3, 7, 3}, {100, 7, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, &Server{LogSample: c.sample, CloseTimeout: time.Minute}, nil)
			for range c.connections {
				client, target := r.connect(t)
				closeAll(client, target)
				synctest.Wait()
			}
			_ = r.back.Close() // failures are logged, each of them
			for range c.connections {
				client, err := r.front.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				_ = client.Close()
			}
			_ = r.stop(t, time.Minute)
			for what, want := range map[string]int{"opening pipe": c.logged, "closed pipe": c.logged, "error on dial": c.connections} {
				if got := strings.Count(r.log.String(), what); got != want {
					t.Errorf("one in %d: %d of %d logged with %q, want %d", c.sample, got, c.connections, what, want)
				}
			}
		})
	}
}
