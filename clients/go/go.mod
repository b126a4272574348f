module github.com/panda-deploy/panda/clients/go

go 1.21
