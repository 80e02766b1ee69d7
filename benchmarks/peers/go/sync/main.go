// client-go: a shared informer of all Pods, as a controller's main function has it.
package main

import (
	"context"
	"flag"
	"os"
	"runtime"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	peers "reconcile.dev/benchmarks/peers"
)

func main() {
	protobuf := flag.Bool("protobuf", false, "ask for protobuf, which built-in kinds have")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		panic(err)
	}
	if *protobuf {
		config.ContentType = "application/vnd.kubernetes.protobuf"
	}
	client := kubernetes.NewForConfigOrDie(config)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().Pods().Informer()

	measurement := peers.Begin()
	factory.Start(ctx.Done())
	// WaitForCacheSync looks every 100 ms, which would be a fifth of the whole measurement.
	for !informer.HasSynced() {
		time.Sleep(2 * time.Millisecond)
	}
	measurement.End()
	time.Sleep(peers.SettleDuration)
	measurement.Report(len(informer.GetStore().ListKeys()))
	runtime.KeepAlive(informer)
}
