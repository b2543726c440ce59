// A service of the tests: MODE says how it behaves.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	mode := os.Getenv("MODE")
	fmt.Println("starting as", mode)
	stopping, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch mode {
	case "crash":
		fmt.Fprintln(os.Stderr, "the store can't be reached")
		os.Exit(3)
	case "worker":
		<-stopping.Done()
		return
	case "plain":
		stop()
		signal.Reset()
		time.Sleep(time.Hour)
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	case "rude":
		go func() {
			<-stopping.Done()
			fmt.Println("the queue is not empty")
			os.Exit(9)
		}()
	case "alone":
		alone()
	case "parent":
		// A child in a session of its own, which no group's signal reaches.
		child := exec.Command("/app")
		child.Env = []string{"MODE=plain"}
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			fmt.Println(err)
			os.Exit(5)
		}
	}
	serve(mode, stopping)
}

// alone leaves unless there is nothing here but the image.
func alone() {
	entries, err := os.ReadDir("/etc")
	names := ""
	for _, entry := range entries {
		names += entry.Name() + " "
	}
	_, null := os.OpenFile("/dev/null", os.O_RDWR, 0)
	text, _ := os.ReadFile("/data/greeting")
	fmt.Printf("uid=%d gid=%d pid=%d etc=%q err=%v null=%v greeting=%s home=%s\n",
		os.Getuid(), os.Getgid(), os.Getpid(), names, err, null, text, os.Getenv("HOME"))
	_, debian := os.Stat("/etc/debian_version")
	_, usr := os.Stat("/usr/bin")
	if debian == nil || usr == nil || os.Getuid() != 65532 || os.Getgid() != 65532 || os.Getpid() != 1 ||
		null != nil || string(text) != "hello" || os.Getenv("PATH") == "" {
		os.Exit(4)
	}
}

func serve(mode string, stopping context.Context) {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		switch mode {
		case "unready":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "redirect":
			http.Redirect(w, r, "/healthz", http.StatusFound)
		}
		if url := os.Getenv("ORDERS_URL"); url != "" {
			answer, err := http.Get(url + "/healthz")
			if err != nil {
				fmt.Println(err)
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			answer.Body.Close()
		}
	})
	port := os.Getenv("SERVER_PORT")
	if port == "" {
		port = os.Getenv("NO_VARIABLE_OF_THIS_NAME") + fmt.Sprint(fixed)
	}
	server := &http.Server{Addr: ":" + port, Handler: mux}
	go func() {
		<-stopping.Done()
		if mode != "deaf" && mode != "rude" {
			server.Shutdown(context.Background())
		}
	}()
	err := server.ListenAndServe()
	fmt.Println(err)
	if err != http.ErrServerClosed {
		os.Exit(1)
	}
}

const fixed = 18431
