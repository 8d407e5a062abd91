package main

import (
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// maxStoreURL bounds the file of a store's URL.
const maxStoreURL = 4096

// postgres is the database that the options name, if they name one.
func (o serveOptions) postgres() (database.Postgres, error) {
	text := o.store
	switch {
	case o.store != "" && o.storeFile != "":
		return database.Postgres{}, usagef("--store and --store-file say the same: give one")
	case o.storeFile != "":
		var err error
		if text, err = readStoreURL(o.storeFile); err != nil {
			return database.Postgres{}, err
		}
	case o.store == "":
		return database.Postgres{}, nil
	case database.HasPassword(o.store):
		return database.Postgres{}, usagef("--store holds a password, which everybody on this machine could read: put the URL into a file and use --store-file")
	}
	p, err := database.ParsePostgres(text)
	if err != nil && o.storeFile == "" {
		return database.Postgres{}, usagef("--store: %w", err)
	}
	if err != nil {
		return database.Postgres{}, fmt.Errorf("read %s: %w", o.storeFile, err)
	}
	return p, nil
}

func readStoreURL(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the store's URL: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read the store's URL: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxStoreURL {
		return "", fmt.Errorf("read the store's URL: %s is not a regular file of at most %d bytes", path, maxStoreURL)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("read the store's URL: %s can be read by others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxStoreURL))
	if err != nil {
		return "", fmt.Errorf("read the store's URL: %w", err)
	}
	return string(text), nil
}
