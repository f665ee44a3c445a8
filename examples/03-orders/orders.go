package main

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

const (
	maxOrders   = 10_000
	maxQuantity = 1_000
)

// order is one order; ID, Status and Created are the service's to say.
type order struct {
	ID       string    `json:"id"`
	Item     string    `json:"item"`
	Quantity int       `json:"quantity"`
	Status   string    `json:"status"`
	Created  time.Time `json:"created"`
}

// orderBook keeps orders in memory, the newest maxOrders of them.
type orderBook struct {
	mutex  sync.RWMutex
	last   int
	orders []order
}

func newOrderBook() *orderBook {
	return &orderBook{orders: []order{}}
}

// add checks what is wanted and keeps it under a new number.
func (b *orderBook) add(wanted order, now time.Time) (order, error) {
	if wanted.ID != "" || wanted.Status != "" || !wanted.Created.IsZero() {
		return order{}, errors.New("only item and quantity can be chosen")
	}
	if wanted.Item == "" || len(wanted.Item) > 200 {
		return order{}, errors.New("item: 1 to 200 characters are needed")
	}
	if wanted.Quantity < 1 || wanted.Quantity > maxQuantity {
		return order{}, fmt.Errorf("quantity: a number from 1 to %d is needed", maxQuantity)
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.last++
	made := order{
		ID:       strconv.Itoa(b.last),
		Item:     wanted.Item,
		Quantity: wanted.Quantity,
		Status:   "accepted",
		Created:  now.UTC(),
	}
	if len(b.orders) == maxOrders {
		b.orders = append(b.orders[:0], b.orders[1:]...)
	}
	b.orders = append(b.orders, made)
	return made, nil
}

// get finds an order by its number.
func (b *orderBook) get(id string) (order, bool) {
	number, err := strconv.Atoi(id)
	if err != nil {
		return order{}, false
	}
	b.mutex.RLock()
	defer b.mutex.RUnlock()
	// Numbers have no gaps, so that the place follows from the number.
	at := number - (b.last - len(b.orders)) - 1
	if at < 0 || at >= len(b.orders) {
		return order{}, false
	}
	return b.orders[at], true
}

// list returns the orders, the oldest first.
func (b *orderBook) list() []order {
	b.mutex.RLock()
	defer b.mutex.RUnlock()
	return append([]order{}, b.orders...)
}

// count returns how many orders have been taken since the start.
func (b *orderBook) count() int {
	b.mutex.RLock()
	defer b.mutex.RUnlock()
	return b.last
}
