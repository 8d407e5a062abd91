package provision

// onlyOwnerReads: on Windows the state folder's access list decides, not mode bits.
func onlyOwnerReads(string) error { return nil }

// syncDir: Windows has no such call; NTFS journals names.
func syncDir(string) error { return nil }
