package config

import "os"

// checkMode does nothing: on Windows the folder's access list protects the file,
// and the mode that Go shows says nothing about it.
func checkMode(os.FileInfo) error { return nil }
