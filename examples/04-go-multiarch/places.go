package main

import (
	"net"
	"os"
	"os/user"
	"strconv"
	"time"
	_ "time/tzdata" // an image without /usr/share/zoneinfo has no zones but these
)

func timeIn(zone string) (string, error) {
	place, err := time.LoadLocation(zone)
	if err != nil {
		return "", err
	}
	return time.Now().In(place).Format(time.RFC3339), nil
}

// userName is the number where there is no name: an image from scratch has no /etc/passwd, and without
// cgo nobody asks LDAP.
func userName() string {
	current, err := user.Current()
	if err != nil {
		return strconv.Itoa(os.Getuid())
	}
	return current.Username
}

// addressesOf asks DNS and /etc/hosts itself without cgo, whatever nsswitch.conf says.
func addressesOf(host string) ([]string, error) {
	return net.LookupHost(host)
}
