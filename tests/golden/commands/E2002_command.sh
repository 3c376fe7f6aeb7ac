gradus trian models/linear_regression.json
