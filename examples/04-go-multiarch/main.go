// Command almanac says the time somewhere, who runs it, where a host is, and how fast its processors count:
// four things that depend on how it was built and on what its image has.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
)

func main() {
	zone := flag.String("zone", "UTC", "time zone, as Asia/Shanghai")
	host := flag.String("host", "", "a name to look up")
	count := flag.Int("count", 100_000, "how often each processor counts")
	flag.Parse()
	if err := run(*zone, *host, *count); err != nil {
		fmt.Fprintln(os.Stderr, "almanac:", err)
		os.Exit(1)
	}
}

func run(zone, host string, count int) error {
	fmt.Printf("built for %s/%s by %s\n", runtime.GOOS, runtime.GOARCH, runtime.Version())
	now, err := timeIn(zone)
	if err != nil {
		return err
	}
	fmt.Println("time:", now)
	fmt.Println("user:", userName())
	if host != "" {
		addresses, err := addressesOf(host)
		if err != nil {
			return err
		}
		fmt.Println("host:", addresses)
	}
	tally := countTogether(runtime.NumCPU(), count)
	fmt.Printf("counted: %d (odd bits %d)\n", tally.total.Load(), tally.odd.Load())
	return nil
}
