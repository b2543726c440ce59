package orders

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"example.com/storefront/pkg/order"
)

var (
	errNotFound = errors.New("order not found")
	errConflict = errors.New("order has changed since it was read")
)

// Store keeps orders in memory and, where it has a path, a snapshot of them in
// a file. It is safe for concurrent use.
type Store struct {
	mu     sync.RWMutex
	path   string
	orders map[string]order.Order
	now    func() time.Time
}

// Open returns the store whose snapshot lies at path. An empty path is a store
// that forgets everything when the process ends.
func Open(path string) (*Store, error) {
	s := &Store{path: path, orders: make(map[string]order.Order), now: time.Now}
	if path == "" {
		return s, nil
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Said now rather than with the first order.
		return s, s.save(s.orders)
	case err != nil:
		return nil, err
	}
	var stored []order.Order
	if err := json.Unmarshal(text, &stored); err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", path, err)
	}
	for _, o := range stored {
		s.orders[o.ID] = o
	}
	return s, nil
}

// Create takes in a valid draft as a pending order.
func (s *Store) Create(draft order.Draft) (order.Order, error) {
	if err := draft.Validate(); err != nil {
		return order.Order{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return order.Order{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now().UTC()
	o := order.Order{ID: id.String(), Draft: draft, Status: order.Pending, Revision: 1, Created: now, Updated: now}
	return o, s.put(o)
}

// Get returns the order with this id.
func (s *Store) Get(id string) (order.Order, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, ok := s.orders[id]
	if !ok {
		return order.Order{}, errNotFound
	}
	return o, nil
}

// List returns the orders that stand at status, oldest first; all of them for
// an empty status. It never returns nil.
func (s *Store) List(status order.Status) []order.Order {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]order.Order, 0, len(s.orders))
	for _, o := range s.orders {
		if status == "" || o.Status == status {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, byAge)
	return list
}

// Update replaces an order's draft and status, if change carries the revision
// that the store has.
func (s *Store) Update(change order.Order) (order.Order, error) {
	if err := change.Validate(); err != nil {
		return order.Order{}, err
	}
	if !change.Status.Valid() {
		return order.Order{}, fmt.Errorf("%w: unknown status %q", order.ErrInvalid, change.Status)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.orders[change.ID]
	if !ok {
		return order.Order{}, errNotFound
	}
	if o.Revision != change.Revision {
		return order.Order{}, errConflict
	}
	o.Draft, o.Status = change.Draft, change.Status
	o.Revision++
	o.Updated = s.now().UTC()
	return o, s.put(o)
}

// Delete removes the order with this id.
func (s *Store) Delete(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.orders[id]
	if !ok {
		return errNotFound
	}
	delete(s.orders, id)
	if err := s.save(s.orders); err != nil {
		s.orders[id] = o
		return err
	}
	return nil
}

// Ready returns why an order could not be kept now, or nil.
func (s *Store) Ready() error {
	if s.path == "" {
		return nil
	}
	_, err := os.Stat(s.path)
	return err
}

// put keeps o, or nothing where the snapshot can't be written.
func (s *Store) put(o order.Order) error {
	before, existed := s.orders[o.ID]
	s.orders[o.ID] = o
	err := s.save(s.orders)
	switch {
	case err == nil:
	case existed:
		s.orders[o.ID] = before
	default:
		delete(s.orders, o.ID)
	}
	return err
}

// save writes the snapshot beside its place and renames it: whoever reads the
// path sees a whole one.
func (s *Store) save(orders map[string]order.Order) (err error) {
	if s.path == "" {
		return nil
	}
	list := make([]order.Order, 0, len(orders))
	for _, o := range orders {
		list = append(list, o)
	}
	slices.SortFunc(list, byAge)
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(s.path), ".orders-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), s.path)
}

func byAge(a, b order.Order) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}
