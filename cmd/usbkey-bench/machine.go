package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what the figures were taken on.
type Machine struct {
	Processor  string
	Processors int
	Memory     int64 // in bytes
	Kernel     string
	System     string
	Go         string
	Build      string   // of usbkeyd
	Packages   []string // name and version
}

func machine(bin string) (m Machine, err error) {
	m.Processors, m.Go = runtime.NumCPU(), runtime.Version()
	if m.Processor, err = field("/proc/cpuinfo", "model name"); err != nil {
		return m, err
	}
	if m.System, err = field("/etc/os-release", "PRETTY_NAME"); err != nil {
		return m, err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, err
	}
	m.Kernel = unix.ByteSliceToString(name.Release[:])
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return m, err
	}
	m.Memory = int64(info.Totalram) * int64(info.Unit)
	out, err := exec.Command(bin+"/usbkeyd", "version").Output()
	if err != nil {
		return m, fmt.Errorf("usbkeyd version: %w", err)
	}
	m.Build, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	for _, p := range []string{"softhsm2", "opensc", "openssl", "libengine-pkcs11-openssl", "gcc"} {
		out, err := exec.Command("dpkg-query", "-W", "-f", "${Package} ${Version}", p).Output()
		if err != nil {
			return m, fmt.Errorf("dpkg-query %s: %w", p, err)
		}
		m.Packages = append(m.Packages, string(out))
	}
	return m, nil
}

// field is the first value of a name in a file of lines "name: value" or name="value".
func field(path, name string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.Trim(rest, " \t\n:=\""), nil
		}
	}
	return "", fmt.Errorf("%s does not tell %q", path, name)
}
