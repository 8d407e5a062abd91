//go:build rig && linux

package docs_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// machine is this one once more, to be thrown away: whatever is written stays in memory, and
// whatever is started ends with the test. Packages are really installed on it, daemons really run.
type machine struct {
	t    *testing.T
	pid  string // of the first process in it
	root string // where it is, to be seen from inside its own mounts only
}

// layout makes the machine: an overlay over all that is here, and namespaces of its own, with no
// network but itself. Its first process goes when its input ends. Nothing is denied on it, as
// containers deny starting services; apt knows what is installed and no newer version of it, and
// makes no index of manual pages, which takes longer than all the rest.
const layout = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/written" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/written,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount --rbind /sys "$1/root/sys"
for d in run tmp; do mount -t tmpfs tmpfs "$1/root/$d"; chmod 1777 "$1/root/$d"; done
rm -f "$1/root/usr/sbin/policy-rc.d" "$1/root/var/lib/man-db/auto-update"
rm -rf "$1/root/var/lib/apt/lists"
ip link set lo up
echo ready
cat || true # not instead of the shell, which takes in whatever ends`

func newMachine(t *testing.T) *machine {
	t.Helper()
	place := t.TempDir()
	cmd := exec.CommandContext(context.Background(), "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "bash", "-c", layout, "layout", place)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the machine did not end well: %v: %s", err, said.String())
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("no machine could be made (this wants root, and overlayfs): %s", said.String())
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return &machine{t, strings.TrimSpace(string(children)), filepath.Join(place, "root")}
}

// run has a shell run a script on the machine, as root, and returns what was printed.
func (m *machine) run(script string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "--target", m.pid, "--mount", "--net", "--pid", "--", "chroot", m.root, "bash", "-euo", "pipefail", "-c", script)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// put copies a file or folder to the machine.
func (m *machine) put(from, to string) {
	m.t.Helper()
	archive := exec.CommandContext(m.t.Context(), "tar", "-C", from, "-c", ".")
	var tar bytes.Buffer
	archive.Stdout = &tar
	if err := archive.Run(); err != nil {
		m.t.Fatalf("pack %s: %v", from, err)
	}
	cmd := exec.CommandContext(m.t.Context(), "nsenter", "--target", m.pid, "--mount", "--", "chroot", m.root, "sh", "-c", `mkdir -p "$1" && tar -C "$1" -x --no-same-owner`, "put", to)
	cmd.Stdin = &tar
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("put %s: %v: %s", to, err, out)
	}
}
