package usbport

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// uevent is news as lib/kobject_uevent.c of Linux writes it: the header, then the variables in
// the order in which it and drivers/usb/core add them.
func uevent(action, devpath string, variables ...string) []byte {
	all := append([]string{action + "@" + devpath, "ACTION=" + action, "DEVPATH=" + devpath}, variables...)
	return []byte(strings.Join(all, "\x00") + "\x00")
}

// plugged is a token that comes at a port.
func plugged(devpath string) []byte {
	return uevent("add", devpath, "SUBSYSTEM=usb", "MAJOR=189", "MINOR=17", "DEVNAME=bus/usb/001/018", "DEVTYPE=usb_device",
		"PRODUCT=96e/807/100", "TYPE=0/0/0", "BUSNUM=001", "DEVNUM=018", "SEQNUM=4711")
}

const (
	hubPath   = "/devices/pci0000:00/0000:00:14.0/usb1/1-2"
	tokenPath = hubPath + "/1-2.3"
)

// TestAdded: of all news only a device that comes has a port.
func TestAdded(t *testing.T) {
	token := plugged(tokenPath)
	for _, row := range []struct {
		name string
		news []byte
		port string
		err  error
	}{
		{"a token in a hub", token, "1-2.3", nil},
		{"at the machine itself", plugged(hubPath), "1-2", nil},
		{"behind two hubs", plugged(tokenPath + "/1-2.3.14"), "1-2.3.14", nil},
		{"a bus", plugged("/devices/pci0000:00/0000:00:14.0/usb1"), "", nil},
		{"its interface", uevent("add", tokenPath+"/1-2.3:1.0", "SUBSYSTEM=usb", "DEVTYPE=usb_interface", "SEQNUM=4712"), "", nil},
		{"no device", uevent("add", tokenPath, "SUBSYSTEM=usb", "DEVTYPE=usb_interface", "SEQNUM=4712"), "", nil},
		{"bound to a driver", uevent("bind", tokenPath, "SUBSYSTEM=usb", "DEVTYPE=usb_device", "SEQNUM=4713"), "", nil},
		{"pulled", uevent("remove", tokenPath, "SUBSYSTEM=usb", "DEVTYPE=usb_device", "SEQNUM=4714"), "", nil},
		{"no USB device", uevent("add", "/devices/virtual/mem/null", "SUBSYSTEM=mem", "SEQNUM=4715"), "", nil},
		{"udev's", append([]byte("libudev\x00\xfe\xed\xca\xfe"), token...), "", ErrNews},
		{"cut off", token[:len(token)-1], "", ErrNews},
		{"another header", append([]byte("x"), token...), "", ErrNews},
		{"a variable twice", append(slices.Clone(token), "DEVTYPE=usb_device\x00"...), "", ErrNews},
		{"no variable", append(slices.Clone(token), "DRIVER\x00"...), "", ErrNews},
		{"too long", append(slices.Clone(token), "X="+strings.Repeat("x", maxNews)+"\x00"...), "", ErrNews},
		{"nothing", nil, "", ErrNews},
	} {
		if port, err := Added(row.news); port != row.port || !errors.Is(err, row.err) {
			t.Errorf("%s: %q, %v", row.name, port, err)
		}
	}
}

// recording is news that were written down.
type recording []struct {
	news   []byte
	sender uint32
}

func (r *recording) next() ([]byte, uint32, error) {
	if len(*r) == 0 {
		return nil, 0, io.EOF
	}
	first := (*r)[0]
	*r = (*r)[1:]
	return first.news, first.sender, nil
}

// TestFollow: what the kernel did not send is believed in no case, and damaged news end nothing.
func TestFollow(t *testing.T) {
	var ports []string
	var refused []error
	err := follow(&recording{
		{plugged(hubPath + "/1-2.1"), 0}, {plugged(hubPath + "/1-2.2"), 4242}, {[]byte("x"), 0}, {plugged(tokenPath), 0},
	}, func(port string) { ports = append(ports, port) }, func(err error) { refused = append(refused, err) })
	if !errors.Is(err, io.EOF) || !slices.Equal(ports, []string{"1-2.1", "1-2.3"}) {
		t.Errorf("%q, %v", ports, err)
	}
	if len(refused) != 2 || !errors.Is(refused[0], ErrSender) || !errors.Is(refused[1], ErrNews) {
		t.Errorf("refused: %v", refused)
	}
}

// FuzzAdded: whatever comes, a port is one.
func FuzzAdded(f *testing.F) {
	f.Add(plugged(tokenPath))
	f.Add(uevent("remove", tokenPath, "SUBSYSTEM=usb"))
	f.Add([]byte("libudev\x00"))
	f.Fuzz(func(t *testing.T, news []byte) {
		port, err := Added(news)
		if port != "" && (err != nil || !portPath.MatchString(port) || !strings.Contains(string(news), port)) {
			t.Errorf("%q, %v", port, err)
		}
	})
}
