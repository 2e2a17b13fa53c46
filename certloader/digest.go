package certloader

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
)

// digest tells what files hold; the digests of different content differ.
type digest [sha256.Size]byte

// digestFiles reads files to their digest. That one cannot be read is a content
// too. Only regular files are read: from a pipe, reading takes away.
func digestFiles(paths []string) digest {
	all := sha256.New()
	for _, path := range paths {
		fmt.Fprintf(all, "%s\n", describeFile(path))
	}
	return digest(all.Sum(nil))
}

// describeFile is one line on what a file holds.
func describeFile(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Sprintf("%q", err)
	}
	if !info.Mode().IsRegular() {
		return info.Mode().Type().String()
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Sprintf("%q", err)
	}
	defer file.Close()
	content := sha256.New()
	if _, err := io.Copy(content, io.LimitReader(file, maxFileSize+1)); err != nil {
		return fmt.Sprintf("%q", err)
	}
	return fmt.Sprintf("%x", content.Sum(nil))
}
