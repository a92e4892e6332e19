package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// file is one file of a directory snapshot.
type file struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// snapshot lists every regular file below dir. Files that vanish meanwhile are left out.
func snapshot(dir string) map[string]file {
	files := make(map[string]file)
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return nil
		}
		sum := sha256.Sum256(content)
		files[filepath.ToSlash(name)] = file{int64(len(content)), hex.EncodeToString(sum[:])}
		return nil
	})
	return files
}

// copyTree copies directories and regular files, with their permissions.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, info.Mode().Perm()|0o700)
		case entry.Type().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(target, content, info.Mode().Perm())
		}
		return nil
	})
}

// settle waits for the store's background removals: old per-block files and the remains of a purge.
func settle(dir string) {
	for deadline := time.Now().Add(300 * time.Millisecond); time.Now().Before(deadline); time.Sleep(500 * time.Microsecond) {
		if !hasLeftovers(dir) {
			return
		}
	}
}

func hasLeftovers(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, "__msgs__")); err == nil {
		return true
	}
	entries, _ := os.ReadDir(filepath.Join(dir, "msgs"))
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".idx") || strings.HasSuffix(entry.Name(), ".fss") {
			return true
		}
	}
	return false
}

// indexInPlace tells whether the open call will find an index.db, purge staging considered.
func indexInPlace(dir string) bool {
	msgs := "msgs"
	if staged, err := os.ReadDir(filepath.Join(dir, "__new_msgs__")); err == nil {
		for _, entry := range staged {
			if strings.HasSuffix(entry.Name(), ".blk") {
				msgs = "__new_msgs__"
			}
		}
	}
	_, err := os.Stat(filepath.Join(dir, msgs, "index.db"))
	return err == nil
}
