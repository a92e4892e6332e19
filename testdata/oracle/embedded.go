package main

func commandServer([]string) error { return errorString("later") }
