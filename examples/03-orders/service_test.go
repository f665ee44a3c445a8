package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func start(t *testing.T) (*service, *httptest.Server) {
	t.Helper()
	s := newService(slog.New(slog.NewJSONHandler(io.Discard, nil)))
	server := httptest.NewServer(s.handler())
	t.Cleanup(server.Close)
	return s, server
}

func do(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestAnOrderCanBeMadeListedAndFound(t *testing.T) {
	_, server := start(t)
	status, text := do(t, "POST", server.URL+"/orders", `{"item":"rope","quantity":3}`)
	if status != http.StatusCreated {
		t.Fatalf("create: %d %s", status, text)
	}
	var made order
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		t.Fatal(err)
	}
	if made.ID != "1" || made.Item != "rope" || made.Status != "accepted" {
		t.Errorf("made %+v", made)
	}
	if status, text = do(t, "GET", server.URL+"/orders/1", ""); status != http.StatusOK {
		t.Errorf("get: %d %s", status, text)
	}
	if _, text = do(t, "GET", server.URL+"/orders", ""); !strings.Contains(text, `"rope"`) {
		t.Errorf("list: %s", text)
	}
}

func TestWhatCannotBeRightIsRefused(t *testing.T) {
	_, server := start(t)
	for body, want := range map[string]int{
		`{`:                           http.StatusBadRequest,
		`{"item":"x","colour":"red"}`: http.StatusBadRequest,
		`{"item":"","quantity":1}`:    http.StatusUnprocessableEntity,
		`{"item":"x","quantity":0}`:   http.StatusUnprocessableEntity,
		`{"item":"` + strings.Repeat("x", maxBodyBytes) + `"}`: http.StatusRequestEntityTooLarge,
	} {
		if status, text := do(t, "POST", server.URL+"/orders", body); status != want {
			t.Errorf("%.40s: %d, want %d: %s", body, status, want, text)
		}
	}
	for _, path := range []string{"/orders/1", "/orders/x", "/orders/-1"} {
		if status, _ := do(t, "GET", server.URL+path, ""); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _ := do(t, "DELETE", server.URL+"/orders", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("delete: %d", status)
	}
}

func TestHealthEndsBeforeTheServiceDoes(t *testing.T) {
	s, server := start(t)
	address := strings.TrimPrefix(server.URL, "http://")
	if err := askHealth(address); err != nil {
		t.Error(err)
	}
	s.draining.Store(true)
	if askHealth(address) == nil {
		t.Error("still healthy while draining")
	}
}

func TestMetricsTellOfOrdersAndRequests(t *testing.T) {
	_, server := start(t)
	do(t, "POST", server.URL+"/orders", `{"item":"rope","quantity":3}`)
	do(t, "GET", server.URL+"/orders/7", "")
	_, text := do(t, "GET", server.URL+"/metrics", "")
	for _, line := range []string{
		"orders_created_total 1\n",
		`http_requests_total{route="/orders",method="POST",status="201"} 1` + "\n",
		`http_requests_total{route="/orders/{id}",method="GET",status="404"} 1` + "\n",
		`http_request_duration_seconds_count{route="/orders"} 1` + "\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("missing %q in:\n%s", line, text)
		}
	}
}

func TestOldOrdersGiveWayToNewOnes(t *testing.T) {
	book := newOrderBook()
	for range make([]struct{}, maxOrders+5) {
		if _, err := book.add(order{Item: "x", Quantity: 1}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := book.get("5"); ok {
		t.Error("the fifth is still there")
	}
	if found, ok := book.get("6"); !ok || found.ID != "6" {
		t.Errorf("the sixth: %v %v", found, ok)
	}
	if found, ok := book.get("10005"); !ok || found.ID != "10005" {
		t.Errorf("the last: %v %v", found, ok)
	}
}
