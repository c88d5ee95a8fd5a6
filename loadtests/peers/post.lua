-- wrk: the same body for every server of the ingest row.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"userId":2,"type":"private","target":1,"message":"lorem ipsum dolor sit amet lorem ipsum dolor sit amet lorem ipsum","email":"abc@gmail.com","data":{"id":42,"url":"/messages/42"}}'
