package main

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"time"

	snappy "github.com/klauspost/compress/s2"
)

// snapshot writes the v1 archive. The reference checks its blocks first: unchecked it would copy what it has not read as it lies on
// disk, ciphertext included. Its interface names the two switches in the wrong order.
func (o *ops) snapshot(r *opsRequest) error {
	const checked = true
	result, err := o.s.Snapshot(time.Hour, checked, r.Consumers)
	if err != nil {
		return err
	}
	file, err := os.Create(r.File)
	if err != nil {
		return err
	}
	if _, err = io.Copy(file, result.Reader); err != nil {
		return err
	}
	return file.Close()
}

// unpack writes the files of an archive below dir.
func unpack(archive, dir string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := tar.NewReader(snappy.NewReader(file))
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg || !filepath.IsLocal(header.Name) {
			return refuse("other", "archive entry %q", header.Name)
		}
		path := filepath.Join(dir, header.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
}
