package usbport

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
)

// Errors about news.
var (
	// ErrNews says that something is not as the kernel writes it.
	ErrNews = errors.New("not the kernel's news of a device")
	// ErrSender says that it was not the kernel that sent it.
	ErrSender = errors.New("news of a device that the kernel did not send")
)

// maxNews is more than the kernel writes: 2048 bytes of variables (UEVENT_BUFFER_SIZE in
// linux/kobject.h) and the header.
const maxNews = 8192

// portPath is a device's name under a bus: usb_alloc_dev in drivers/usb/core/usb.c.
var portPath = regexp.MustCompile(`^[1-9][0-9]{0,4}-[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,5}$`)

// Added is the port of a USB device that has come, "" for any other news. The form is
// "ACTION@DEVPATH" and then "NAME=value" for each variable, each ended by a zero byte, as in
// kobject_uevent_env of lib/kobject_uevent.c. ErrNews.
func Added(news []byte) (port string, err error) {
	fields := bytes.Split(news, []byte{0})
	if len(news) > maxNews || len(fields) < 2 || len(fields[len(fields)-1]) > 0 {
		return "", fmt.Errorf("%w: %d bytes", ErrNews, len(news))
	}
	is := map[string]string{}
	for _, f := range fields[1 : len(fields)-1] {
		name, value, found := bytes.Cut(f, []byte{'='})
		if _, twice := is[string(name)]; !found || twice {
			return "", fmt.Errorf("%w: the variable %.40q", ErrNews, f)
		}
		is[string(name)] = string(value)
	}
	if header := is["ACTION"] + "@" + is["DEVPATH"]; header != string(fields[0]) {
		return "", fmt.Errorf("%w: it begins with %.80q, its variables say %.80q", ErrNews, fields[0], header)
	}
	if is["ACTION"] != "add" || is["SUBSYSTEM"] != "usb" || is["DEVTYPE"] != "usb_device" {
		return "", nil
	}
	if port = path.Base(is["DEVPATH"]); !portPath.MatchString(port) {
		return "", nil // a bus itself, such as usb1
	}
	return port, nil
}

// source gives news one after another, with the sender's port number, which is 0 for the kernel
// alone (netlink(7)).
type source interface {
	next() (news []byte, sender uint32, err error)
}

// follow tells of every device that comes, until the source fails. What is refused is told, too.
func follow(s source, added func(port string), refused func(error)) error {
	for {
		news, sender, err := s.next()
		if err != nil {
			return err
		}
		if sender != 0 {
			refused(fmt.Errorf("%w: sender %d", ErrSender, sender))
			continue
		}
		port, err := Added(news)
		if err != nil {
			refused(err)
		} else if port != "" {
			added(port)
		}
	}
}
