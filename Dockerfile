# docker build -t robustsight . && docker run -p 8888:8888 robustsight
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends make git chromium \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /robustsight
COPY . .
RUN make .venv/.installed
EXPOSE 8888
CMD ["make", "lab", "LAB=--ip=0.0.0.0"]
