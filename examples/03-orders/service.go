package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const maxBodyBytes = 64 << 10

// service answers requests: orders below /orders, and what a platform asks.
type service struct {
	orders   *orderBook
	metrics  *metrics
	log      *slog.Logger
	draining atomic.Bool
}

func newService(log *slog.Logger) *service {
	return &service{orders: newOrderBook(), metrics: newMetrics(), log: log}
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/orders", s.watched("/orders", s.collection))
	mux.HandleFunc("/orders/", s.watched("/orders/{id}", s.single))
	mux.HandleFunc("/healthz", s.health)
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		s.metrics.write(w, s.orders.count())
	})
	return mux
}

func (s *service) health(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		http.Error(w, "ending", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (s *service) collection(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		reply(w, http.StatusOK, map[string]any{"orders": s.orders.list()})
	case http.MethodPost:
		var wanted order
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&wanted); err != nil {
			refuse(w, decodeStatus(err), err)
			return
		}
		made, err := s.orders.add(wanted, time.Now())
		if err != nil {
			refuse(w, http.StatusUnprocessableEntity, err)
			return
		}
		w.Header().Set("Location", "/orders/"+made.ID)
		reply(w, http.StatusCreated, made)
	default:
		w.Header().Set("Allow", "GET, POST")
		refuse(w, http.StatusMethodNotAllowed, errors.New("use GET or POST"))
	}
}

func (s *service) single(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET")
		refuse(w, http.StatusMethodNotAllowed, errors.New("use GET"))
		return
	}
	id := strings.TrimPrefix(r.URL.Path, "/orders/")
	found, ok := s.orders.get(id)
	if !ok {
		refuse(w, http.StatusNotFound, fmt.Errorf("no order %q", id))
		return
	}
	reply(w, http.StatusOK, found)
}

func decodeStatus(err error) int {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

func reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // A client that has gone needs no answer.
}

func refuse(w http.ResponseWriter, status int, err error) {
	reply(w, status, map[string]string{"error": err.Error()})
}

// watched counts, times and logs the requests of a route.
func (s *service) watched(route string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next(seen, r)
		took := time.Since(began)
		s.metrics.observe(route, method(r), seen.status, took)
		s.log.Info("request", "method", r.Method, "path", r.URL.Path, "status", seen.status,
			"duration_ms", float64(took.Microseconds())/1000)
	}
}

// method bounds what a stranger can make a label of.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodHead:
		return r.Method
	}
	return "other"
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
