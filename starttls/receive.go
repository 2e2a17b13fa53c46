package starttls

import (
	"bytes"
	"io"
)

// receive reads so many bytes, and not one more. Memory grows with what arrives: the length alone, which anybody can claim,
// reserves none.
func receive(from io.Reader, length int) ([]byte, error) {
	var content bytes.Buffer
	if _, err := io.CopyN(&content, from, int64(length)); err != nil {
		return nil, cutShort(err)
	}
	return content.Bytes(), nil
}

// readRest reads what has to follow.
func readRest(from io.Reader, p []byte) error {
	_, err := io.ReadFull(from, p)
	return cutShort(err)
}

// cutShort is the error of a stream that ended in the middle of a message.
func cutShort(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
