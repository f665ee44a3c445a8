// Command orders is a small service: an API for orders, health, metrics, logs as JSON.
//
// It needs nothing but the standard library, listens on $PORT (8080), and ends in order on SIGTERM:
// it first says that it is not healthy any more, then answers what it has begun to answer.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is set by the linker: -ldflags "-X main.version=...".
var version = "dev"

const shutdownTimeout = 10 * time.Second

func main() {
	health := flag.Bool("health", false, "ask the running service whether it is healthy, and end")
	flag.Parse()
	address := net.JoinHostPort("", port())
	if *health {
		if err := askHealth(net.JoinHostPort("127.0.0.1", port())); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("healthy")
		return
	}
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	if err := serve(address, log); err != nil {
		log.Error("cannot go on", "error", err.Error())
		os.Exit(1)
	}
}

func port() string {
	if given := os.Getenv("PORT"); given != "" {
		return given
	}
	return "8080"
}

// askHealth is the health check of an image that has no shell and no curl.
func askHealth(address string) error {
	client := http.Client{Timeout: 2 * time.Second}
	response, err := client.Get("http://" + address + "/healthz")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not healthy: %s", response.Status)
	}
	return nil
}

func serve(address string, log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	service := newService(log)
	server := &http.Server{
		Handler:           service.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	log.Info("serving", "address", listener.Addr().String(), "version", version)

	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	log.Info("ending")
	service.draining.Store(true)
	inTime, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(inTime); err != nil {
		return fmt.Errorf("requests were still under way: %w", err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	log.Info("ended")
	return nil
}
