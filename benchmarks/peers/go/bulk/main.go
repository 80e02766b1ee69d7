// client-go: a shared informer of all Pods whose handler enqueues each Pod's controller owner, as controllers do.
package main

import (
	"context"
	"os"
	"runtime"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	peers "reconcile.dev/benchmarks/peers"
)

func main() {
	url := os.Args[1]
	last, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	client := kubernetes.NewForConfigOrDie(&rest.Config{Host: url})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().Pods().Informer()
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[cache.ObjectName]())
	complete := make(chan struct{})
	version := strconv.Itoa(last)
	enqueue := func(object any) {
		pod := object.(*corev1.Pod)
		if owner := metav1.GetControllerOf(pod); owner != nil {
			queue.Add(cache.ObjectName{Namespace: pod.Namespace, Name: owner.Name})
		}
		if pod.ResourceVersion == version {
			close(complete)
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, object any) { enqueue(object) },
	}); err != nil {
		panic(err)
	}

	measurement := peers.Begin()
	factory.Start(ctx.Done())
	<-complete
	measurement.End()
	measurement.Report(len(informer.GetStore().ListKeys()))
	runtime.KeepAlive(queue)
}
