package main

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
)

// chunk is how many bytes are written and read at a time.
const chunk = 256 << 10

// noise is what is sent: bytes that repeat after a prime number of them, so that what is lost, doubled or out of place does
// not look right again, whatever the sizes of buffers and records are.
var noise = makeNoise()

const period = 65521

func makeNoise() []byte {
	source := rand.NewChaCha8([32]byte{})
	all := make([]byte, period+chunk)
	_, _ = source.Read(all[:period]) // never fails
	for n := period; n < len(all); n *= 2 {
		copy(all[n:], all[:n])
	}
	return all
}

// noiseAt is the n bytes, no more than a chunk, that begin after offset others.
func noiseAt(offset int64, n int) []byte {
	start := int(offset % period)
	return noise[start : start+n]
}

// errGarbled is bytes other than those that were sent.
var errGarbled = errors.New("bytes arrived that were not sent")

// send writes noise until it is told to stop, and counts it.
func send(w io.Writer, stop <-chan struct{}, sent *atomic.Int64) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		n, err := w.Write(noiseAt(sent.Load(), chunk))
		sent.Add(int64(n))
		if err != nil {
			return err
		}
	}
}

// receive reads noise to its end, and counts it.
func receive(r io.Reader, received *atomic.Int64) error {
	buf := make([]byte, chunk)
	for {
		n, err := r.Read(buf)
		if !bytes.Equal(buf[:n], noiseAt(received.Load(), n)) {
			return errGarbled
		}
		received.Add(int64(n))
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
