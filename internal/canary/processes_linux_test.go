package canary

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestProcessesAreSeen(t *testing.T) {
	for _, way := range []struct {
		name    string
		witness string
		args    []string
		env     string
		want    int
	}{
		{"environment", "", []string{"sleep", "20"}, "PIN=" + pin, 1},
		{"environment of a witness", "sleep", []string{"sleep", "20"}, "PIN=" + pin, 0},
		{"argument", "", []string{"sh", "-c", "sleep 20; : " + pin}, "", 1},
		{"nothing", "", []string{"sh", "-c", "sleep 20; :"}, "", 0},
	} {
		t.Run(way.name, func(t *testing.T) {
			mark := t.TempDir()
			p := Watch(10*time.Millisecond, way.witness, mark)
			cmd := exec.Command(way.args[0], way.args[1:]...)
			cmd.Env = append(os.Environ(), "MARK="+mark, way.env)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to end it with what it starts
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// Of a process that is not to be seen, three rounds are waited for: it was there
			// during the last two.
			rounds := p.looked(cmd.Process.Pid).rounds
			seen := false
			for begun := time.Now(); time.Since(begun) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
				now := p.looked(cmd.Process.Pid)
				if seen = now.seen; seen || way.witness != "" && now.rounds >= rounds+3 {
					break
				}
			}
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait() // killed
			s := Search{}
			s.Add("PIN", pin)
			p.End(&s)
			if want := way.witness == ""; seen != want || (s.Processes > 0) != want {
				t.Errorf("seen: %v, in %d processes, wanted %v", seen, s.Processes, want)
			}
			if min(len(s.Found), 1) != way.want {
				t.Errorf("found %v in %d processes", s.Found, s.Processes)
			}
		})
	}
}

type looks struct {
	rounds int
	seen   bool
}

// looked is how many rounds were made, and whether one has seen the process.
func (p *Processes) looked(pid int) looks {
	p.mu.Lock()
	defer p.mu.Unlock()
	return looks{p.rounds, p.seen[strconv.Itoa(pid)]}
}
