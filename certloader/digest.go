package certloader

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Digest tells what files hold; the digests of different content differ. That
// of any files is not the zero value.
type Digest [sha256.Size]byte

// DigestFiles reads files to their digest, and directories with all that is in
// them. That one cannot be read is a content too. Only regular files are read:
// from a pipe, reading takes away.
func DigestFiles(paths []string) Digest {
	all := sha256.New()
	for _, path := range paths {
		fmt.Fprintf(all, "%s\n", describeFile(path))
	}
	return Digest(all.Sum(nil))
}

// describeFile is one line on what a file holds.
func describeFile(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Sprintf("%q", err)
	}
	if info.IsDir() {
		return describeDirectory(path)
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

// describeDirectory is one line on what a directory holds, at any depth. It does
// not go into directories that symbolic links lead to, which may lead back.
func describeDirectory(path string) string {
	root, err := filepath.EvalSymlinks(path) // WalkDir goes into no link either
	if err != nil {
		return fmt.Sprintf("%q", err)
	}
	content := sha256.New()
	_ = filepath.WalkDir(root, func(at string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			fmt.Fprintf(content, "%q %q\n", at, err)
		case !entry.IsDir():
			fmt.Fprintf(content, "%q %s\n", at, describeEntry(at))
		}
		return nil // what cannot be read is in the digest
	})
	return fmt.Sprintf("%x", content.Sum(nil))
}

// describeEntry is describeFile for what is in a directory.
func describeEntry(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return info.Mode().Type().String()
	}
	return describeFile(path)
}
