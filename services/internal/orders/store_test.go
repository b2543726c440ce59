package orders

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"example.com/storefront/pkg/order"
)

func tea(customer string) order.Draft {
	return order.Draft{Customer: customer, Items: []order.Item{{SKU: "tea", Quantity: 1, PriceCents: 450}}}
}

func TestStoreSurvivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.json")
	store, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := store.Create(tea("ada"))
	if err != nil {
		t.Fatal(err)
	}
	gone, err := store.Create(tea("bob"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(gone.ID); err != nil {
		t.Fatal(err)
	}

	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	list := again.List("")
	if len(list) != 1 || list[0].ID != kept.ID || !list[0].Created.Equal(kept.Created) {
		t.Errorf("after a restart: %+v, want only %+v", list, kept)
	}
}

func TestOpenRefusesADamagedSnapshot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.json")
	if err := os.WriteFile(path, []byte(`[{"id":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Error("Open() gave no error")
	}
}

// What could not be written is not kept either.
func TestStoreForgetsWhatItCouldNotSave(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	store, err := Open(filepath.Join(folder, "orders.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Create(tea("ada")); err == nil {
		t.Error("Create() gave no error")
	}
	if list := store.List(""); len(list) != 0 {
		t.Errorf("the store holds %+v", list)
	}
	if store.Ready() == nil {
		t.Error("Ready() = nil without a folder for the snapshot")
	}
}

func TestUpdateTakesOneOfManyWriters(t *testing.T) {
	store, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	o, err := store.Create(tea("ada"))
	if err != nil {
		t.Fatal(err)
	}
	const writers = 8
	results := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			change := o
			change.Customer = fmt.Sprintf("writer %d", i)
			_, results[i] = store.Update(change)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, errConflict):
			t.Errorf("Update() = %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d writers won, want 1", won)
	}
}

func TestListIsOldestFirst(t *testing.T) {
	store, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	for _, customer := range []string{"ada", "bob", "cyd"} {
		if _, err := store.Create(tea(customer)); err != nil {
			t.Fatal(err)
		}
	}
	var got string
	for _, o := range store.List(order.Pending) {
		got += o.Customer
	}
	if got != "adabobcyd" {
		t.Errorf("List() has the order %q", got)
	}
}
