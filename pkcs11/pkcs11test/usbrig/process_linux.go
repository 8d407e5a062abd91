package usbrig

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const terminate = syscall.SIGTERM

// endWithUs has the daemon end when its parent dies, however that comes to pass.
func endWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }

// listens says whether it is this process that listens at all ports (proc(5)).
func listens(pid int, ports []int) (bool, error) {
	own, err := sockets(pid)
	if err != nil {
		return false, err
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return false, err
	}
	const listening = "0A"
	at := map[string]bool{} // ports in hexadecimal
	for lines := bufio.NewScanner(bytes.NewReader(table)); lines.Scan(); {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && fields[3] == listening && own["socket:["+fields[9]+"]"] {
			_, port, _ := strings.Cut(fields[1], ":")
			at[port] = true
		}
	}
	for _, port := range ports {
		if !at[fmt.Sprintf("%04X", port)] {
			return false, fmt.Errorf("nothing listens at port %d", port)
		}
	}
	return true, nil
}

func sockets(pid int) (map[string]bool, error) {
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for _, link := range links {
		// One may have been closed by now.
		if target, err := os.Readlink(link); err == nil {
			own[target] = true
		}
	}
	return own, nil
}
